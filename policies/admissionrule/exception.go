package admissionrule

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/verdict"
)

// Reasons of problems of exceptions.
const (
	ReasonExpired      = "Expired"
	ReasonExpiresSoon  = "ExpiresSoon"
	ReasonRuleNotFound = "RuleNotFound"
	ReasonNotAllowed   = "NotAllowed"
)

// notice is how long before its end users are warned of the end of an exception.
const notice = 14 * 24 * time.Hour

// Exception is a compiled AdmissionException. It is safe for concurrent use.
type Exception struct {
	source  *rulesv1alpha1.AdmissionException
	targets []target
}

type target struct {
	kind     schema.GroupKind
	name     string
	selector labels.Selector
}

// NewException compiles an exception. A target with a problem is left out; the problems are Invalid.
func NewException(source *rulesv1alpha1.AdmissionException) (*Exception, []verdict.Problem) {
	e := &Exception{source: source}
	var problems []verdict.Problem
	for i, t := range source.Spec.Targets {
		group := t.Group
		if group == "" {
			group = gatewayGroup
		}
		kind := schema.GroupKind{Group: group, Kind: t.Kind}
		wrong := func(field, message string) {
			problems = append(problems, verdict.Problem{
				Field: fmt.Sprintf("spec.targets[%d].%s", i, field), Reason: ReasonInvalid, Weight: verdict.Invalid,
				Message: message,
			})
		}
		selector, err := selectorOf(t.Selector)
		switch resource, known := ResourceOf(kind); {
		case err != nil:
			wrong("selector", oneLine(err)+": correct the selector")
		case (t.Name == "") == (t.Selector == nil):
			wrong("name", "targets are found by a name or by a selector: write one of the two")
		case !known:
			wrong("kind", fmt.Sprintf("rules cannot be about kind %s of group %s: correct the kind or the group", t.Kind, group))
		case resource.Cluster:
			wrong("kind", fmt.Sprintf("a %s has no namespace, and exceptions are for objects of their own namespace: remove it",
				t.Kind))
		default:
			e.targets = append(e.targets, target{kind: kind, name: t.Name, selector: selector})
		}
	}
	return e, problems
}

// Problems are the reasons why an exception is not in effect, or soon will not be, without those of NewException. Only
// the latter is not Invalid. find returns a rule; nil if it does not exist.
func (e *Exception) Problems(find func(name string) *rulesv1alpha1.AdmissionRule, now time.Time) []verdict.Problem {
	var problems []verdict.Problem
	add := func(field, reason, message string, weight verdict.Weight) {
		problems = append(problems, verdict.Problem{Field: field, Reason: reason, Weight: weight, Message: message})
	}
	switch e.State(now) {
	case StateExpired:
		add("spec.expires", ReasonExpired,
			fmt.Sprintf("the exception expired on %s: remove it, or agree on a later date", e.end()), verdict.Invalid)
	case StateEndsSoon:
		add("spec.expires", ReasonExpiresSoon,
			fmt.Sprintf("the exception ends on %s: correct its targets, or agree on a later date", e.end()), verdict.Unresolved)
	}
	for i, name := range e.source.Spec.Rules {
		field := fmt.Sprintf("spec.rules[%d]", i)
		if rule := find(name); rule == nil {
			add(field, ReasonRuleNotFound, fmt.Sprintf("no AdmissionRule %q: create it or correct the name", name),
				verdict.Unresolved) // It may come later in the same folder.
		} else if rule.Spec.Exceptions != rulesv1alpha1.ExceptionsAllowed {
			add(field, ReasonNotAllowed, fmt.Sprintf("AdmissionRule %s has no exceptions: ask its owner to allow them", name),
				verdict.Invalid)
		}
	}
	return problems
}

// State says how long an exception is in effect.
type State string

// The states of exceptions. One that ends soon is in effect, and whoever uses it is warned.
const (
	StateEffective State = "effective"
	StateEndsSoon  State = "ends_soon"
	StateExpired   State = "expired"
)

// State is the state at a time.
func (e *Exception) State(now time.Time) State {
	switch end := e.source.Spec.Expires.Time; {
	case !now.Before(end):
		return StateExpired
	case !now.Add(notice).Before(end):
		return StateEndsSoon
	}
	return StateEffective
}

// Changes returns the next time at which the state changes after a time; it is zero if the exception has expired.
func (e *Exception) Changes(after time.Time) time.Time {
	switch end := e.source.Spec.Expires.Time; e.State(after) {
	case StateEffective:
		return end.Add(-notice)
	case StateEndsSoon:
		return end
	case StateExpired:
	}
	return time.Time{}
}

// Same reports whether both except the same, for the same reason.
func (e *Exception) Same(other *Exception) bool {
	return equality.Semantic.DeepEqual(e.source.Spec, other.source.Spec)
}

// Rules are the names of the rules that the exception is from.
func (e *Exception) Rules() []string { return e.source.Spec.Rules }

func (e *Exception) end() string { return e.source.Spec.Expires.UTC().Format(time.RFC3339) }

// excepted is an object that may be excepted.
type excepted struct {
	kind            schema.GroupKind
	namespace, name string
	labels          labels.Set
}

// covers reports whether an object is excepted from a rule, whether or not the exception has expired.
func (e *Exception) covers(rule string, o excepted) bool {
	if e.source.Namespace != o.namespace || !slices.Contains(e.source.Spec.Rules, rule) {
		return false
	}
	return slices.ContainsFunc(e.targets, func(t target) bool {
		return t.kind == o.kind && (t.name == o.name || t.name == "" && t.selector.Matches(o.labels))
	})
}

// exception returns the exception of an object from the rule: of several ones that which ends last. It returns nil if
// there is none.
func (r *Rule) exception(in *Input, o excepted) (last *Exception) {
	if r.spec.Exceptions != rulesv1alpha1.ExceptionsAllowed || in.Exceptions == nil {
		return nil
	}
	for _, e := range in.Exceptions(o.namespace) {
		if e.covers(r.name, o) && (last == nil || last.source.Spec.Expires.Before(&e.source.Spec.Expires)) {
			last = e
		}
	}
	return last
}

// own is the object of the request.
func (in *Input) own() excepted {
	return excepted{
		kind:      schema.GroupKind{Group: in.Resource.Group, Kind: in.Resource.Kind},
		namespace: in.Request.Namespace, name: in.Request.Name, labels: labelsOf(in.Object),
	}
}

// except marks the findings of a rule from which the object is excepted.
func (r *Rule) except(in *Input, found []Finding) {
	last := r.exception(in, in.own())
	if last == nil {
		return
	}
	who := fmt.Sprintf("AdmissionException %s of %s", last.source.Name, last.source.Spec.Owner)
	for i := range found {
		switch last.State(in.Now) {
		case StateExpired:
			found[i].Message += fmt.Sprintf(" (%s expired on %s)", who, last.end())
		case StateEndsSoon:
			found[i].Excepted, found[i].EndsSoon = true, true
			found[i].Message += fmt.Sprintf(" (%s ends on %s)", who, last.end())
		case StateEffective:
			found[i].Excepted = true
			found[i].Message += fmt.Sprintf(" (%s, until %s)", who, last.end())
		}
	}
}
