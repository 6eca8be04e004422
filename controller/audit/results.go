package audit

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
)

const (
	// mostTold is how many findings are kept of a rule. The others are counted.
	mostTold = 500
	// mostWords is the length of the messages that are kept, in bytes.
	mostWords = 1 << 10
	// mostFirst is how many findings the status of a rule has.
	mostFirst = 10
)

// counts are numbers of findings.
type counts struct{ violations, excepted, failed int32 }

func (c *counts) add(other counts, sign int32) {
	c.violations += sign * other.violations
	c.excepted += sign * other.excepted
	c.failed += sign * other.failed
}

func (c *counts) total() int { return int(c.violations + c.excepted + c.failed) }

// outcome is what a rule has found in an object.
type outcome struct {
	rule *rule
	counts
}

// finding is a requirement that an object violates, as it is told of.
type finding struct {
	admissionrule.Finding
	ref verdict.Ref
	// version is the apiVersion of the object.
	version string
}

// judgement is what came of judging an object by a rule.
type judgement struct {
	// matched reports whether the rule is about the object.
	matched bool
	found   []finding
}

// sums are the results of a namespace, for reports.
type sums struct{ pass, fail, warn, excepted, failed int }

// forget forgets the results of the rule.
func (r *rule) forget() {
	r.counts, r.judged, r.findings, r.untold, r.begun = counts{}, 0, 0, 0, 0
	r.told = map[verdict.Ref][]finding{}
}

// record replaces what a rule has found in an object. a.mu must be held.
func (a *Auditor) record(o *object, r *rule, j judgement) {
	at := slices.IndexFunc(o.outcomes, func(other *outcome) bool { return other.rule == r })
	var before judgement
	var counted counts
	if at >= 0 {
		before, counted = judgement{true, r.told[o.ref]}, o.outcomes[at].counts
		a.count(o, r, counted, -1)
		r.take(o.ref, counted)
		o.outcomes = slices.Delete(o.outcomes, at, at+1)
	}
	now := counts{}
	if j.matched {
		now = countsOf(j.found)
		o.outcomes = append(o.outcomes, &outcome{r, now})
		a.count(o, r, now, 1)
		r.keep(o.ref, j.found)
	}
	if before.matched != j.matched || counted != now || !slices.EqualFunc(before.found, r.told[o.ref], sameFinding) {
		a.changedRules[r.name()] = true
		a.changedNamespaces[o.ref.Namespace] = true
	}
}

// sameFinding reports whether both are told of with the same words.
func sameFinding(a, b finding) bool {
	return a.Problem == b.Problem && a.Failed == b.Failed && a.Excepted == b.Excepted
}

func countsOf(found []finding) (c counts) {
	for i := range found {
		switch f := &found[i]; {
		case f.Excepted:
			c.excepted++
		case f.Failed:
			c.failed++
		default:
			c.violations++
		}
	}
	return c
}

// count adds an outcome to the sums, or takes it away.
func (a *Auditor) count(o *object, r *rule, c counts, sign int32) {
	r.judged += int(sign)
	r.counts.add(c, sign)
	s := a.sums[o.ref.Namespace]
	if s == nil {
		s = &sums{}
		a.sums[o.ref.Namespace] = s
	}
	if c == (counts{}) {
		s.pass += int(sign)
	}
	if r.source.Spec.Severity == rulesv1alpha1.SeverityDeny || r.source.Spec.Severity == "" {
		s.fail += int(sign * c.violations)
	} else {
		s.warn += int(sign * c.violations)
	}
	s.excepted += int(sign * c.excepted)
	s.failed += int(sign * c.failed)
	if *s == (sums{}) {
		delete(a.sums, o.ref.Namespace)
	}
}

// keep keeps the findings of an object, if there is room.
func (r *rule) keep(ref verdict.Ref, found []finding) {
	switch {
	case len(found) == 0:
	case r.findings+len(found) > mostTold:
		r.untold++
	default:
		for i := range found {
			found[i].Message = shortened(found[i].Message, mostWords)
		}
		r.told[ref] = found
		r.findings += len(found)
	}
}

// take removes the findings of an object.
func (r *rule) take(ref verdict.Ref, counted counts) {
	switch found := r.told[ref]; {
	case counted == (counts{}):
	case found == nil:
		r.untold--
	default:
		r.findings -= len(found)
		delete(r.told, ref)
	}
}

func shortened(words string, most int) string {
	if len(words) <= most {
		return words
	}
	return strings.ToValidUTF8(words[:most-len("…")], "") + "…"
}

// refill judges objects again whose findings were not kept, if there is room for them now. a.mu must be held.
func (a *Auditor) refill() {
	for _, r := range a.rules {
		room := mostTold - r.findings
		if r.untold == 0 || room == 0 {
			continue
		}
		for o := range a.all() {
			if room == 0 {
				break
			}
			at := slices.IndexFunc(o.outcomes, func(other *outcome) bool { return other.rule == r })
			if at < 0 || o.outcomes[at].counts == (counts{}) || r.told[o.ref] != nil {
				continue
			}
			if n := o.outcomes[at].total(); n <= room {
				a.waiting.add(o, by(r))
				room -= n
			}
		}
	}
}

// complete reports whether all objects have been judged that were there when the rule came.
func (a *Auditor) complete(r *rule) bool { return a.waiting.taken >= r.begun }

// Results are the results of a rule for its status; nil if it cannot be evaluated. They are not known on other replicas
// than the leader, nor before all objects have been judged.
func (a *Auditor) Results(name string) (results *rulesv1alpha1.RuleAudit, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.rules[name]
	switch {
	case !a.leading:
		return nil, false
	case r == nil:
		return nil, true
	case !a.complete(r):
		return nil, false
	}
	results = &rulesv1alpha1.RuleAudit{
		ObservedGeneration: r.source.Generation, Judged: int32(r.judged), //nolint:gosec // Kubernetes holds fewer objects.
		Violations: r.counts.violations, Excepted: r.counts.excepted, Failed: r.counts.failed,
	}
	for _, f := range r.sorted(func(verdict.Ref) bool { return true }) {
		if f.Excepted {
			continue
		}
		if len(results.First) == mostFirst {
			break
		}
		results.First = append(results.First, rulesv1alpha1.RuleViolation{
			Kind: f.ref.Kind, Namespace: f.ref.Namespace, Name: f.ref.Name, Field: f.Field, Message: f.Message,
		})
	}
	return results, true
}

// sorted are the findings that are kept of some objects, by namespace, kind and name.
func (r *rule) sorted(which func(verdict.Ref) bool) (all []finding) {
	refs := slices.SortedFunc(maps.Keys(r.told), func(a, b verdict.Ref) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Group, b.Group))
	})
	for _, ref := range refs {
		if which(ref) {
			all = append(all, r.told[ref]...)
		}
	}
	return all
}
