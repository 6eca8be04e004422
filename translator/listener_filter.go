package translator

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/extauth"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// A listener for HTTP or HTTPS may have filters that every request passes before a route is chosen for it (Gateway API,
// ListenerFilters). How Envoy does this is described in listener_passage.go and in decision 048.

// declareGuards: the filters that requests pass before Envoy chooses a route.
func (t *Tables) declareGuards() {
	t.guards = flow.Derive(t.listeners, "filters of listeners", (*guardRow).equal, t.guard)
	t.guardsByBackend = flow.NewIndex(t.guards, "filters of listeners by backend", keysOfGuard)
}

// Reasons of conditions of a listener that GEP-5224 names and Gateway API has no constants for.
const (
	reasonListenerFilter    = "InvalidListenerFilter"
	reasonListenerFilterRef = "InvalidListenerFilterRef"
)

// guardShare is the part of a route's memory that the filters of a listener may take for a host: half of what a route
// with 16 hostnames, the most that it may have, has for each.
const guardShare = 32

// guardRow is what the filters of a listener mean.
type guardRow struct {
	Listener *listenerRow
	// Backends are the usable authorization servers, Clusters are the clusters of those that can be reached.
	Backends []backend
	Clusters []*clusterUse
	// Closed reports whether a filter cannot be carried out. Every request is then answered as if its route had failed.
	Closed bool
	// OnHTTP and OnGRPC end the virtual hosts of the listener, those of HTTPRoutes and those of GRPCRoutes.
	OnHTTP, OnGRPC routeEntry
	// Cost is what one of them costs an Envoy, in bytes.
	Cost     int64
	Problems []verdict.Problem

	// chain are the filters, in their order: for each those of Envoy that it becomes.
	chain [][]*corev3.TypedExtensionConfig
	// common is what the routes of the listener's route configuration have in common, nil for nothing.
	common *commonRow
}

func (g *guardRow) equal(o *guardRow) bool {
	if g == nil || o == nil {
		return g == o
	}
	return g.Listener.equal(o.Listener) && g.Closed == o.Closed && g.Cost == o.Cost &&
		g.OnHTTP.equal(o.OnHTTP) && g.OnGRPC.equal(o.OnGRPC) && equalProblems(g.Problems, o.Problems) &&
		slices.EqualFunc(g.Backends, o.Backends, backend.equal) &&
		slices.EqualFunc(g.Clusters, o.Clusters, (*clusterUse).equal)
}

// filters are those that every request of the listener passes before a route is chosen for it.
func (c *entryRow) filters() []gwapiv1.ListenerFilter {
	if c.Spec.Filters == nil {
		return nil
	}
	return c.Spec.Filters.Requests
}

// checkFilters reports filters for requests on a listener that does not see requests. Such a listener is not served
// without them.
func (l *listenerRow) checkFilters() {
	if len(l.filters()) > 0 && (l.protocol().layer4 || len(l.protocol().kinds) == 0) {
		p := feature.Invalid(l.field("filters.requests"),
			"a listener of protocol %s does not see requests: remove the filters, or use protocol HTTP or HTTPS",
			l.Spec.Protocol)
		p.Reason = reasonListenerFilter
		l.problem(p)
	}
}

// guarded reports whether requests of the listener pass filters before a route is chosen for them.
func (l *listenerRow) guarded() bool { return len(l.filters()) > 0 && !l.protocol().layer4 }

// guard translates the filters of a listener. If one of them cannot be carried out, no request passes.
func (t *Tables) guard(r *flow.Read, key string, l *listenerRow) (*guardRow, bool) {
	if !l.guarded() {
		return nil, false
	}
	g := &guardRow{Listener: l, Cost: 2 * perRoute}
	g.common, _ = t.commons.Get(r, configKey(l))
	form := t.form(l.Gateway, t.effects(r, l.chain()), "")
	q, _ := t.quarantines.Get(r, l.fleet())
	for i := range l.filters() {
		f, field := &l.filters()[i], l.field(fmt.Sprintf("filters.requests[%d]", i))
		switch {
		case f.Type != gwapiv1.ListenerFilterExternalAuth:
			g.unserved(f, field)
		case f.ExternalAuth == nil:
			g.refuse(extauth.Check(nil, field+".externalAuth")...)
		default:
			t.charge(g, f.ExternalAuth, field)
			t.ask(r, g, &authorizer{spec: f.ExternalAuth, field: field + ".externalAuth", form: &form, rejected: q})
		}
	}
	g.end(q)
	if g.Closed {
		g.Cost = perRoute
	}
	return g, true
}

// charge adds the cost of a filter. It reports the first filter that exceeds the limit for the filters of a listener.
func (t *Tables) charge(g *guardRow, f *gwapiv1.HTTPExternalAuthFilter, field string) {
	limit, before := t.routeMemory()/guardShare, g.Cost
	g.Cost += feature.PerEntry + extauth.Cost(f)
	if before <= limit && g.Cost > limit {
		g.refuse(feature.Invalid(field,
			"the listener's filters up to this one would take about %s of each Envoy for each host, and all may take %s, 1/%d of what a route may, "+
				"so the listener answers 500: use fewer filters, or fewer or shorter names of headers", memory(g.Cost),
			memory(limit), guardShare))
	}
}

// authorizer is an ExternalAuth filter of a listener, with what its cluster is made by.
type authorizer struct {
	spec     *gwapiv1.HTTPExternalAuthFilter
	field    string
	form     *clusterForm
	rejected quarantineRow
}

// ask adds an authorization server to those that are asked.
func (t *Tables) ask(r *flow.Read, g *guardRow, a *authorizer) {
	g.refuse(extauth.Check(a.spec, a.field)...)
	from := referrer{Ref: g.Listener.ownerRef(), kind: &httpRoutes}
	backends, problems := t.neededBackends(r, from, extauth.Backend(a.spec))
	for _, problem := range behind(a.field+".backendRef", problems) {
		g.unresolved(problem)
	}
	use := a.form.shared(backends)
	g.Backends = append(g.Backends, backends...)
	if use == nil {
		g.Closed = true
		return
	}
	if words, rejected := a.rejected.anyVersion(use); rejected {
		g.refuse(feature.Invalid(a.field+".backendRef",
			"Envoy rejected it, so the listener answers 500: %s: change the backend or what its TLS refers to", words))
		return
	}
	if !slices.ContainsFunc(g.Clusters, func(known *clusterUse) bool { return known.Name == use.Name }) {
		g.Clusters = append(g.Clusters, use)
	}
	g.chain = append(g.chain, extauth.Ask(a.spec, use.answer(), listenerHeader))
}

// unserved reports a filter that is not served. What it refers to is not resolved either.
func (g *guardRow) unserved(f *gwapiv1.ListenerFilter, field string) {
	g.Closed = true
	g.tell(verdict.Problem{
		Field: field + ".type", Reason: string(gwapiv1.RouteReasonUnsupportedValue), Weight: verdict.Unresolved,
		Condition: string(gwapiv1.ListenerConditionAccepted),
		Message:   fmt.Sprintf("filter %q is not served, so the listener answers 500: use ExternalAuth", f.Type),
	})
	if ref := f.ExtensionRef; ref != nil {
		problem := verdict.WrongKind(string(ref.Group), string(ref.Kind), "be a filter of a listener", "remove the filter")
		problem.Field = field + ".extensionRef.kind"
		g.unresolved(problem)
	}
}

// refuse reports what can never work as written.
func (g *guardRow) refuse(problems ...verdict.Problem) {
	for _, p := range problems {
		p.Reason, p.Condition = reasonListenerFilter, string(gwapiv1.ListenerConditionAccepted)
		g.tell(p)
		g.Closed = true
	}
}

// unresolved reports a reference. It closes the listener only if it cannot be used at all.
func (g *guardRow) unresolved(p verdict.Problem) {
	p.Condition = string(gwapiv1.ListenerConditionResolvedRefs)
	if p.Reason != string(gwapiv1.ListenerReasonRefNotPermitted) {
		p.Reason = reasonListenerFilterRef
	}
	g.tell(p)
}

func (g *guardRow) tell(p verdict.Problem) {
	p.Scope = string(g.Listener.Spec.Name)
	g.Problems = append(g.Problems, p)
}

// withFilters is the listener with the problems of its filters. If they cannot be accepted, the listener is not valid,
// although it is served: it answers 500.
func (t *Tables) withFilters(r *flow.Read, l *listenerRow) *listenerRow {
	g, ok := t.guards.Get(r, l.Key)
	if !ok || len(g.Problems) == 0 {
		return l
	}
	judged := *l
	judged.Problems = slices.Concat(l.Problems, g.Problems)
	judged.Serves = l.Serves && len(status.About(g.Problems, string(gwapiv1.ListenerConditionAccepted),
		string(l.Spec.Name))) == 0
	return &judged
}
