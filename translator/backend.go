package translator

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// rulesRow has the rules of a route as they are for every parent.
type rulesRow struct {
	Route *routeRow
	Rules []ruleRow
	// Problems are all of the rules'.
	Problems []verdict.Problem
}

// ruleRow is one rule of a route.
type ruleRow struct {
	Backends []backend
	// Extra are the other backends that its filters need, by the fields of the needs.
	Extra map[string]extraBackends
	// Have answers the other needs of its filters.
	Have feature.Have
	// Broken reports whether the rule has a filter that cannot be carried out. Its routes then answer 500.
	Broken bool
	// Loose marks the matches that cannot be translated, such as one with a bad regular expression. Whatever they may
	// mean answers 500.
	Loose []bool
	// Unreadable are the regular expressions of these matches that cannot be used.
	Unreadable []string
	// Conditions are those of which requests must fulfill one besides the matches; nil for none.
	Conditions []feature.Condition
	// Traits are what is known of the rule before anything is made of it.
	Traits feature.Traits
	// Cost is what the rule costs an Envoy, without its policies.
	Cost ruleCost
}

// backend is one backendRef of a rule.
type backend struct {
	// To is the object that the reference names. It is nil if the reference cannot be used. Its share of the requests
	// is then answered with 500.
	To   *destination
	Port backendPort
	// TLS is how TLS to the backend is used, nil for plain text.
	TLS *tlsUse
	// Budget is the policy that says how many of the requests may be retries, nil if none does.
	Budget *budgetRow
	Weight uint32
	// Fallback reports whether the backend gets requests only when the others of its rule have no usable endpoint.
	Fallback bool
	// Filters are those of the backendRef itself.
	Filters []gwapiv1.HTTPRouteFilter
	// At is the index of the backendRef in its rule.
	At int
	// Extensions are the HTTPRouteFilters that shape the backend's cluster.
	Extensions []feature.ExtensionFilter
	// HTTP2 reports whether Envoy must use HTTP/2 although the port does not name it, as for gRPC.
	HTTP2 bool
}

// equal compares only what the backend uses of the object, so that a new port of a Service does not affect routes to
// another port.
func (b backend) equal(o backend) bool {
	if b.To == nil || o.To == nil {
		return b.To == o.To && b.Weight == o.Weight && b.Fallback == o.Fallback && b.Port.Protocol == o.Port.Protocol
	}
	return b.At == o.At && slices.EqualFunc(b.Extensions, o.Extensions, feature.ExtensionFilter.Equal) && b.HTTP2 == o.HTTP2 && b.Weight == o.Weight && b.Fallback == o.Fallback && b.Port == o.Port &&
		b.TLS.equal(o.TLS) && b.Budget.equal(o.Budget) && b.To.equal(o.To)
}

func (row *rulesRow) equal(o *rulesRow) bool {
	return row.Route.equal(o.Route) && equalProblems(row.Problems, o.Problems) &&
		slices.EqualFunc(row.Rules, o.Rules, func(a, b ruleRow) bool {
			return a.Broken == b.Broken && a.Traits == b.Traits && a.Cost == b.Cost && slices.Equal(a.Loose, b.Loose) &&
				slices.Equal(a.Unreadable, b.Unreadable) &&
				slices.EqualFunc(a.Backends, b.Backends, backend.equal) && maps.EqualFunc(a.Extra, b.Extra, extraBackends.equal) &&
				a.Have.Equal(b.Have)
		})
}

func (t *Tables) routeRules(r *flow.Read, _ string, route *routeRow) (*rulesRow, bool) {
	row := &rulesRow{Route: route, Rules: make([]ruleRow, len(route.Rules)), Problems: t.rules.Check(route.Object)}
	for _, p := range row.Problems {
		if i, ok := ruleIndex(p.Field); ok && i < len(row.Rules) {
			row.Rules[i].Broken = true
		}
	}
	illegible := checkLegible(route)
	if illegible != nil {
		row.Problems = append(row.Problems, *illegible)
	}
	for i := range route.Rules {
		rule, out := &route.Rules[i], &row.Rules[i]
		field := fmt.Sprintf("spec.rules[%d]", i)
		out.Traits, out.Conditions = policies.TraitsOfRule(rule), policies.ConditionsOfRule(rule)
		row.Problems = append(row.Problems, out.judgeMatches(route, i, illegible != nil)...)
		broken := verdict.At(field, append(policies.CheckRule(rule), t.judgeExtensions(r, route, rule)...))
		out.Broken = out.Broken || len(broken) > 0
		row.Problems = append(row.Problems, broken...)
		row.Problems = append(row.Problems, verdict.At(field, t.meetRule(r, route.referrer(), out,
			policies.NeedsOfRule(rule)))...)
		if p := out.checkShares(route, rule, field); p != nil {
			row.Problems = append(row.Problems, *p)
		}
		row.Problems = append(row.Problems, t.ruleBackends(r, route, out, i)...)
	}
	row.limitListed()
	return row, true
}

// ruleBackends resolves the backendRefs of a rule. Those with weight 0 get no requests, but are resolved so that their
// problems are reported.
func (t *Tables) ruleBackends(r *flow.Read, route *routeRow, out *ruleRow, rule int) (problems []verdict.Problem) {
	field, refs := fmt.Sprintf("spec.rules[%d]", rule), route.Rules[rule].BackendRefs
	var at []int
	for i := range refs {
		backend, problem := t.backend(r, route.referrer(), &refs[i])
		if problem != nil {
			problem.Field = fmt.Sprintf("%s.backendRefs[%d]%s", field, i, problem.Field)
			problem.Condition = string(gwapiv1.RouteConditionResolvedRefs)
			problems = append(problems, *problem)
		}
		backend.At, backend.Extensions = i, shapingClusters(&route.Rules[rule], i)
		if backend.Weight > 0 {
			out.Backends, at = append(out.Backends, backend), append(at, i)
		}
	}
	problems = append(problems, out.dropResolvers(at, field)...)
	problems = append(problems, out.withoutChoice(&route.Rules[rule], field)...)
	return append(problems, out.dropFallbacks(at, field)...)
}

// ruleIndex finds the rule that a field path points into.
func ruleIndex(field string) (int, bool) {
	rest, ok := strings.CutPrefix(field, "spec.rules[")
	if !ok {
		return 0, false
	}
	number, _, _ := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	return i, err == nil
}

// referrer is an object that refers to backends, and the kind of route whose requests they get.
type referrer struct {
	verdict.Ref
	kind *routeKind
}

// referrer is the route as one.
func (row *routeRow) referrer() referrer { return referrer{Ref: row.ref(), kind: row.Kind} }

// backend resolves a backendRef. A backend that is not usable has a problem. A backend with a problem may still be
// usable in part.
func (t *Tables) backend(r *flow.Read, from referrer, ref *gwapiv1.HTTPBackendRef) (backend, *verdict.Problem) {
	b := backend{Weight: 1, Filters: ref.Filters, HTTP2: from.kind.http2}
	b.Port.Protocol = from.kind.transport
	if ref.Weight != nil {
		b.Weight = uint32(max(*ref.Weight, 0))
	}
	kind := backendKindOf(&ref.BackendObjectReference)
	if kind == nil {
		problem := verdict.WrongKind(string(deref(ref.Group)), string(deref(ref.Kind)), "be a backend", "refer to "+anyBackend)
		problem.Field, problem.Reason = ".kind", string(gwapiv1.RouteReasonInvalidKind)
		return b, &problem
	}
	if off := t.enabled(kind); off != nil {
		return b, off
	}
	to := verdict.Ref{Group: kind.group, Kind: kind.name, Namespace: from.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil && *ref.Namespace != "" {
		to.Namespace = string(*ref.Namespace)
	}
	if !t.permitted(r, from.Ref, to) {
		return b, new(verdict.NotGranted(from.Ref, to))
	}
	object, ok := t.backends.Get(r, kind.key(to.Namespace, to.Name))
	if !ok {
		return b, new(verdict.Absent(".name", to, string(gwapiv1.RouteReasonBackendNotFound)))
	}
	b.Fallback = object.Fallback
	if problem := t.checkObject(from, b, object); problem != nil {
		return b, problem
	}
	b, problem := resolvePort(b, object, ref.Port)
	if from.kind.failure != 0 {
		t.limitRetries(r, &b)
	}
	if problem == nil && !b.datagrams() {
		problem = t.secure(r, &b, from)
	}
	if problem == nil {
		problem = b.checkProtocol(from.kind)
	}
	if problem == nil {
		problem = t.checkNames(r, &b)
	}
	return b, problem
}

// checkProtocol reports requests that cannot be sent in the protocol of the port. Then none are sent.
func (b *backend) checkProtocol(kind *routeKind) *verdict.Problem {
	words := b.unspoken(kind)
	if words == "" {
		return nil
	}
	problem := &verdict.Problem{
		Field: ".port", Reason: string(gwapiv1.RouteReasonUnsupportedProtocol), Weight: verdict.Unresolved,
		Message: fmt.Sprintf("port %d of %s has appProtocol %s, %s", b.Port.Number, b.To, b.Port.AppProtocol, words),
	}
	if b.Port.Number == 0 { // The reference names none.
		problem.Field, problem.Message = ".name", fmt.Sprintf("%s has appProtocol %s, %s", b.To, b.Port.AppProtocol, words)
	}
	b.To = nil
	return problem
}

// checkObject reports why nothing is sent to any port of an object.
func (t *Tables) checkObject(from referrer, b backend, object *backendObject) *verdict.Problem {
	switch {
	case object.Refused:
		return &verdict.Problem{
			Field: ".name", Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%s is not accepted, so nothing is sent to it: see its status", &object.destination),
		}
	case object.Discovery == byRequest && from.kind.failure == 0 && !from.kind.serverNames:
		return &verdict.Problem{
			Field: ".name", Reason: string(gwapiv1.RouteReasonUnsupportedProtocol), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%s takes the endpoint from the host of each request, and a %s has no requests: list endpoints",
				&object.destination, from.Kind),
		}
	case object.TLS != nil && b.datagrams():
		return &verdict.Problem{
			Field: ".name", Reason: string(gwapiv1.RouteReasonUnsupportedProtocol), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%s asks for TLS, in which datagrams are not sent: use a Backend without tls",
				&object.destination),
		}
	case object.named() && object.Own == nil:
		return t.checkExternal(b, object)
	case object.named() && b.datagrams():
		return &verdict.Problem{
			Field: ".name", Reason: reasonAddressType, Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%s has DNS names, to which datagrams are not sent: list addresses", &object.destination),
		}
	}
	return nil
}

func resolvePort(b backend, object *backendObject, port *gwapiv1.PortNumber) (backend, *verdict.Problem) {
	if object.Own != nil {
		b.To, b.Port.Name, b.Port.AppProtocol = &object.destination, object.Own.Name, object.Own.AppProtocol
		return b, nil
	}
	if port == nil {
		return b, &verdict.Problem{
			Field: ".port", Reason: "PortNotSpecified", Weight: verdict.Invalid,
			Message: fmt.Sprintf("a %s needs a port: %s/%s has %s", object.Kind.name, object.Namespace, object.Name,
				object.listedPorts()),
		}
	}
	if object.named() && slices.Contains(PodPorts, *port) {
		return b, &verdict.Problem{
			Field: ".port", Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%d is a port of Envoy's own pods, and the name of %s may resolve to Envoy's own host: use another port",
				*port, &object.destination),
		}
	}
	if object.named() && len(object.Ports) == 0 { // A name need not list its ports.
		b.To, b.Port.Number = &object.destination, *port
		return b, nil
	}
	for _, p := range object.Ports {
		if p.Number == *port && p.Protocol == b.Port.Protocol {
			b.To, b.Port = &object.destination, p
			return b, nil
		}
	}
	return b, &verdict.Problem{
		Field: ".port", Reason: "PortNotFound", Weight: verdict.Unresolved,
		Message: fmt.Sprintf("%s has no %s port %d: it has %s", &object.destination, b.Port.Protocol, *port,
			object.listedPorts()),
	}
}
