package translator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

func (t *Tables) routeStatus(r *flow.Read, key string, route *routeRow) (*Status, bool) {
	problems := t.absentParents(r, route)
	rules, _ := t.rulesOf.Get(r, key)
	var parents []*parentRow
	firsts := map[int][]verdict.Problem{} // By parent: where the route is the first of several.
	for i := range route.Parents {
		if p, ok := t.parents.Get(r, parentKey(key, i)); ok {
			p = t.outranked(r, p)
			firsts[i] = t.tellOverlaps(r, p)
			parents = append(parents, p)
		}
	}
	for _, p := range parents {
		p.tellLost(parents)
		problems = append(problems, p.Problems...)
	}
	if len(parents) == 0 {
		// No parent is ours, so another controller judges the rest of the route. What we reported before is removed.
		return newStatus(route.Object, problems, &gwapiv1.RouteStatus{}), true
	}
	rules = rules.with(t.rejectedProblems(r, key))
	if !slices.ContainsFunc(parents, func(p *parentRow) bool { return !p.passes() }) {
		rules = rules.passed()
	}
	problems = append(problems, rules.Problems...)
	idle := t.withoutEndpoints(r, rules)
	desired := &gwapiv1.RouteStatus{}
	for _, p := range parents {
		rules := rules
		if p.passes() {
			rules = rules.passed()
		}
		desired.Parents = append(desired.Parents, gwapiv1.RouteParentStatus{
			ParentRef:      *p.ref(),
			ControllerName: gwapiv1.GatewayController(t.settings.ControllerName),
			Conditions: slices.Concat(t.parentConditions(p, rules),
				status.FalseOnly(conditionBackends, append(status.About(rules.Problems, conditionBackends, ""), idle...)),
				status.FalseOnly(conditionZones, withoutNearness(rules)),
				status.FalseOnly(feature.ConditionFields, status.About(rules.Problems, feature.ConditionFields, "")),
				overlapCondition(append(status.About(p.Problems, conditionOverlap, fmt.Sprint(p.Index)), firsts[p.Index]...))),
		})
	}
	return newStatus(route.Object, problems, desired), true
}

// absentParents reports parentRefs to Gateways and ListenerSets that do not exist.
func (t *Tables) absentParents(r *flow.Read, route *routeRow) []verdict.Problem {
	var problems []verdict.Problem
	for i := range route.Parents {
		parent := parentRefOf(route, &route.Parents[i])
		if !t.absent(r, parent) {
			continue // What is there is judged as a parent.
		}
		p := verdict.Absent(fmt.Sprintf("spec.parentRefs[%d].name", i), parent, string(gwapiv1.RouteReasonNoMatchingParent))
		p.Scope = fmt.Sprint(i)
		problems = append(problems, p)
	}
	return problems
}

// absent reports whether an object that can be a parent does not exist. A kind that cannot be a parent here may be
// another controller's.
func (t *Tables) absent(r *flow.Read, parent verdict.Ref) bool {
	key, there := Key(parent.Namespace, parent.Name), true
	switch parent.Kind {
	case "Gateway":
		_, there = t.in.gateways.Get(r, key)
	case "ListenerSet":
		_, there = t.in.listenerSets.Get(r, key)
	}
	return !there
}

func (t *Tables) parentConditions(p *parentRow, rules *rulesRow) []metav1.Condition {
	detached := status.About(p.Problems, string(gwapiv1.RouteConditionAccepted), fmt.Sprint(p.Index))
	accepted := status.Condition(string(gwapiv1.RouteConditionAccepted), string(gwapiv1.RouteReasonAccepted),
		"The route is accepted.", detached)
	resolved := status.Condition(string(gwapiv1.RouteConditionResolvedRefs), string(gwapiv1.RouteReasonResolvedRefs),
		"All references are resolved.",
		status.About(rules.Problems, string(gwapiv1.RouteConditionResolvedRefs), ""))
	conditions := []metav1.Condition{accepted, resolved}
	conditions = append(conditions, status.FalseOnly(conditionHostnames,
		status.About(p.Problems, conditionHostnames, fmt.Sprint(p.Index)))...)
	unusable := status.About(rules.Problems, string(gwapiv1.RouteConditionAccepted), "")
	switch {
	case len(unusable) == 0:
		return conditions
	case len(detached) > 0:
		conditions[0].Message = status.Message(slices.Concat(detached, unusable))
		return conditions
	}
	if dropped, all := rules.dropped(unusable); all {
		conditions[0] = status.Condition(string(gwapiv1.RouteConditionAccepted), "", "", unusable)
	} else {
		conditions = append(conditions, metav1.Condition{
			Type: string(gwapiv1.RouteConditionPartiallyInvalid), Status: metav1.ConditionTrue, Reason: status.Reason(unusable),
			Message: fmt.Sprintf("Dropped Rule(s) [%s]: %s", strings.Join(dropped, " "), status.Message(unusable)),
		})
	}
	return conditions
}

// passes reports whether all listeners of the parentRef pass encrypted bytes through.
func (p *parentRow) passes() bool {
	return len(p.Listeners) > 0 && !slices.ContainsFunc(p.Listeners,
		func(a attachedListener) bool { return !a.Listener.protocol().passed() })
}

// passed is the row for parents where encrypted bytes are passed through. How Envoy uses TLS to backends does not
// matter there.
func (row *rulesRow) passed() *rulesRow {
	passed := *row
	passed.Problems = slices.DeleteFunc(slices.Clone(row.Problems),
		func(p verdict.Problem) bool { return p.Reason == reasonBackendTLS })
	return &passed
}

// with is the row with problems that were found later. The rules with these problems are broken.
func (row *rulesRow) with(problems []verdict.Problem) *rulesRow {
	if len(problems) == 0 {
		return row
	}
	more := &rulesRow{Route: row.Route, Rules: slices.Clone(row.Rules), Problems: slices.Concat(row.Problems, problems)}
	for _, p := range problems {
		if i, ok := ruleIndex(p.Field); ok && i < len(more.Rules) {
			more.Rules[i].Broken = true
		}
	}
	return more
}

// dropped lists the rules with a part that is not carried out, and reports whether no complete rule is left.
func (row *rulesRow) dropped(problems []verdict.Problem) (rules []string, all bool) {
	told := map[int]bool{}
	for _, p := range problems {
		if i, ok := ruleIndex(p.Field); ok {
			told[i] = true
		}
	}
	for i, rule := range row.Rules {
		if told[i] || rule.Broken || slices.Contains(rule.Loose, true) {
			rules = append(rules, fmt.Sprint(i))
		}
	}
	return rules, len(rules) == len(row.Rules)
}
