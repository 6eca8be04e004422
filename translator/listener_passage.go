package translator

import (
	"fmt"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/translator/flow"
)

// Envoy chooses a route before the first filter, and this route decides which filters a request passes. So the routes
// of a listener with filters match only requests with a mark. The last route of each virtual host matches the others:
// with it they pass the listener's filters, which set the mark and make Envoy choose a route again, and all filters
// that any route may need. A virtual host without its last route would answer only 404.

const (
	// slotFilter is the beginning of the names of the HTTP filters that become the filters of a listener, one each.
	// Envoy's composite filter can become several at once, but skips those behind one that waits for an answer.
	slotFilter = "envoy.filters.http.composite/listener/"
	// slots is how many filters a listener may have (Gateway API, ListenerFilters, requests).
	slots = 16
	// passFilter is the HTTP filter behind them, which marks a request and makes Envoy choose its route.
	passFilter = "envoy.filters.http.set_filter_state"
	// passedKey and passedValue are the mark in Envoy's filter state, which neither clients nor authorization servers
	// can set.
	passedKey   = "gatehouse.listener.passed"
	passedValue = "yes"
)

// guards are the filters as every connection manager has them: disabled, so that the filters of a listener change its
// routes alone. They are the first.
func guards() []*hcmv3.HttpFilter {
	filters := make([]*hcmv3.HttpFilter, slots, slots+1)
	for i := range filters {
		slot := feature.Filter{Name: slotFilter + strconv.Itoa(i), Config: feature.Composite()}
		filters[i] = slot.HTTP()
	}
	pass := feature.Filter{Name: passFilter, Config: passing}
	return append(filters, pass.HTTP())
}

// passing marks a request that has passed the filters of its listener, and makes Envoy choose its route.
var passing = &statev3.Config{
	OnRequestHeaders: []*setstatev3.FilterStateValue{{
		Key: &setstatev3.FilterStateValue_ObjectKey{ObjectKey: passedKey}, FactoryKey: "envoy.string",
		Value: &setstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: passedValue},
			}},
		}},
	}},
	ClearRouteCache: true,
}

// end makes the last routes of the listener's virtual hosts. If Envoy rejected one of them, the listener is closed.
func (g *guardRow) end(q quarantineRow) {
	for {
		g.OnHTTP, g.OnGRPC = g.last(&httpRoutes), g.last(&grpcRoutes)
		words, rejected := q.anyOf([]ruleEntry{{routeEntry: g.OnHTTP}, {routeEntry: g.OnGRPC}})
		if !rejected || g.Closed {
			return
		}
		g.refuse(feature.Invalid(g.Listener.field("filters.requests"),
			"Envoy rejected what filters 0 to %d come to, so the listener answers 500: %s: change them",
			len(g.Listener.filters())-1, words))
	}
}

// last is the last route of a virtual host of one kind of routes. It matches requests that have not passed the
// listener's filters yet, and those that have but match no other route.
func (g *guardRow) last(kind *routeKind) routeEntry {
	owner := g.Listener.ownerRef()
	// Names of Kubernetes are in lower case.
	name := strings.ToLower(fmt.Sprintf("%s/%s/%s/filters/%s/%s", owner.Kind, owner.Namespace, owner.Name,
		g.Listener.Spec.Name, kind.Name))
	route := &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 404}},
	}
	if g.Closed {
		route.GetDirectResponse().Status = kind.failure
		g.common.exempt(route)
		return routeEntry{Name: name, Rest: encode(route)}
	}
	for i, filters := range g.chain {
		feature.PerRoute(route, slotFilter+strconv.Itoa(i), feature.Whole(filters...))
	}
	feature.Enable(route, passFilter)
	for _, f := range policies.Filters() {
		if !f.Always && (!f.GRPC || kind.http2) {
			feature.Enable(route, f.Name)
		}
	}
	g.common.exempt(route) // By what is put in its place a filter is enabled too.
	return routeEntry{Name: name, Rest: encode(route)}
}

// shut is the last route of hosts that have no room for the filters. They answer as if their route had failed.
func (g *guardRow) shut() *guardRow {
	shut := *g
	shut.Closed = true
	shut.OnHTTP, shut.OnGRPC = shut.last(&httpRoutes), shut.last(&grpcRoutes)
	return &shut
}

// onlyPassed are the conditions of a route for requests that have passed the listener's filters.
var onlyPassed = []*matcherv3.FilterStateMatcher{{
	Key: passedKey, Matcher: &matcherv3.FilterStateMatcher_StringMatch{StringMatch: feature.Exactly(passedValue)},
}}

// behindFilters makes a route match only requests that have passed the filters of its listener. A filter that the route
// disables gets a configuration with which it does nothing, because it is too late to disable it when the route is
// known.
func behindFilters(route *routev3.Route) {
	route.Match.FilterState = onlyPassed
	for filter := range route.TypedPerFilterConfig {
		if off := policies.Off(filter); off != nil && disables(route, filter) {
			route.TypedPerFilterConfig[filter] = off
		}
	}
}

// disables reports whether a route disables a filter that others have.
func disables(route *routev3.Route, filter string) bool {
	config := &routev3.FilterConfig{}
	setting := route.TypedPerFilterConfig[filter]
	return setting.MessageIs(config) && setting.UnmarshalTo(config) == nil && config.Disabled
}

// guardBinding gives a listener with filters a virtual host for its own hostname, so that requests without a route pass
// the filters too. It needs the clusters of all of them. With scoped routes there are no wildcards.
func (t *Tables) guardBinding(r *flow.Read, key string, g *guardRow) []flow.Row[*bindingRow] {
	l := g.Listener
	if !l.Serves {
		return nil
	}
	b := &bindingRow{
		Fleet: l.fleet(), Config: configKey(l), ConfigName: t.routeConfigName(r, l), Scoped: l.Gateway.Scoped, Guard: g,
		Clusters: g.Clusters,
	}
	if exact, _ := scopable([]string{l.hostname()}); len(exact) > 0 || !b.Scoped {
		b.Hosts = []hostRoutes{{Host: l.hostname()}}
	}
	return []flow.Row[*bindingRow]{{Key: "filters|" + key, Value: b}}
}

// guarded adds the last route to a virtual host of a listener with filters. All members are of one listener and of one
// kind of routes. The host has the filters if one of the members has room for them.
func guarded(members []flow.Row[*bindingRow], entries []routeEntry) []routeEntry {
	kind, guard := &httpRoutes, (*guardRow)(nil)
	for _, m := range members {
		if m.Value.Guard != nil && (guard == nil || guard.Closed) {
			guard = m.Value.Guard
		}
		if m.Value.Kind == &grpcRoutes {
			kind = &grpcRoutes
		}
	}
	if guard == nil {
		return entries
	}
	if guard.Closed {
		entries = unstoppable(entries)
	}
	if kind == &grpcRoutes {
		return append(entries, guard.OnGRPC)
	}
	return append(entries, guard.OnHTTP)
}
