package translator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// Some content that policies need is valid for a time only. Envoy looks at the time by itself, so nothing of what it gets
// depends on it, and the status tells.

// conditionContent is False on a policy with content that is not valid now.
const conditionContent = "ContentCurrent"

// Reasons of that.
const (
	reasonContentEnded = "ContentExpired"
	reasonContentEarly = "ContentNotYetValid"
)

// lifetimeRow is when a part of the content of a need is valid.
type lifetimeRow struct {
	feature.Lifetime
	// Field is that of the need, and Key is in the data of the object In.
	Field, Key string
	In         verdict.Ref
}

// addLifetimes keeps when the content of a need is valid, once it is there.
func (p *policyRow) addLifetimes(from verdict.Ref, need *feature.Need) {
	if need.Content == nil || need.Content.Lifetimes == nil {
		return
	}
	in := verdict.Ref{
		Kind: need.Content.Kind, Namespace: cmp.Or(need.Content.Namespace, from.Namespace), Name: need.Content.Name,
	}
	for _, life := range need.Content.Lifetimes(p.Have.Content[need.Field]) {
		p.Lifetimes = append(p.Lifetimes, lifetimeRow{
			Lifetime: life, Field: policies.SpecField + "." + need.Field, Key: need.Content.Key, In: in,
		})
	}
}

// lasting is the key of policies with content that is valid for a time only.
const lasting = "lasting"

func hasLifetimes(_ string, p *policyRow) []string {
	if len(p.Lifetimes) == 0 {
		return nil
	}
	return []string{lasting}
}

// untimelyContent are the problems of a policy with content that is not valid now.
func (t *Tables) untimelyContent(r *flow.Read, p *policyRow) []verdict.Problem {
	if len(p.Lifetimes) == 0 {
		return nil // Only these policies are computed again when the clock is set.
	}
	now, ok := t.in.clock.Get(r, clockKey)
	if !ok {
		return nil
	}
	return untimelyAt(p.Lifetimes, now)
}

// untimelyAt has a problem for each part that is not valid, with the one that was valid last.
func untimelyAt(all []lifetimeRow, now time.Time) (problems []verdict.Problem) {
	told := map[string]bool{}
	for _, first := range all {
		if told[first.Of] {
			continue
		}
		told[first.Of] = true
		same := slices.DeleteFunc(slices.Clone(all), func(l lifetimeRow) bool { return l.Of != first.Of })
		if slices.ContainsFunc(same, func(l lifetimeRow) bool { return l.At(now) }) {
			continue
		}
		last := slices.MaxFunc(same, func(a, b lifetimeRow) int { return a.Until.Compare(b.Until) })
		problems = append(problems, last.problem(now))
	}
	return problems
}

func (l lifetimeRow) problem(now time.Time) verdict.Problem {
	p := verdict.Problem{
		Field: l.Field, Condition: conditionContent, Reason: reasonContentEnded, Weight: verdict.Notice, About: &l.In,
	}
	when, way := "was valid until "+l.Until.UTC().Format(time.RFC3339), "put the next one there"
	if now.Before(l.From) {
		p.Reason, when = reasonContentEarly, "is not valid before "+l.From.UTC().Format(time.RFC3339)
		way = "put an older one there too, or wait"
	}
	p.Message = fmt.Sprintf("%s in key %q of %s %s/%s %s, so %s: %s", l.Of, l.Key, l.In.Kind, l.In.Namespace, l.In.Name, when,
		l.Without, way)
	return p
}

// nextLifetime is the earlier one of a moment and the first moment after now at which other content is valid.
func (t *Tables) nextLifetime(r *flow.Read, now, next time.Time) time.Time {
	for _, row := range t.lasting.Lookup(r, lasting) {
		for _, life := range row.Value.Lifetimes {
			for _, m := range []time.Time{life.From, life.Until} {
				if m.After(now) && m.Before(next) {
					next = m
				}
			}
		}
	}
	return next
}
