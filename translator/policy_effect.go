package translator

import (
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// What a policy does to routes is computed once for the policy, and each route that it covers reads the result. The
// configurations of filters that routes can share (feature.Filter, Off) have a row of their own. A route reads it only
// if its route configuration does not have them.

// effectRow is what a policy does to each route that it covers.
type effectRow struct {
	// Key is that of the policy's row.
	Key string
	Ref verdict.Ref
	// Broken reports whether what the policy covers answers 500.
	Broken bool
	// Shape is nil if clusters do not differ by the policy.
	Shape *clusterShape
	// Clusters are those that the policy needs, by the fields of the needs.
	Clusters map[string]neededCluster
	// Cost is what the effect costs each route, in bytes of an Envoy.
	Cost   int64
	Traits feature.Traits
	// Route holds what is merged into each route.
	Route *routev3.Route
	// Filtered reports whether the policy also has configurations of filters that routes can share.
	Filtered bool

	// encoded is Route, to compare.
	encoded string
}

func (e *effectRow) equal(o *effectRow) bool {
	return e.Key == o.Key && e.Ref == o.Ref && e.Broken == o.Broken && e.Shape.equal(o.Shape) &&
		equalNeeded(e.Clusters, o.Clusters) && e.Cost == o.Cost && e.Traits == o.Traits &&
		e.Filtered == o.Filtered && e.encoded == o.encoded
}

// filterConfig is the configuration of a filter that routes can share.
type filterConfig struct {
	Filter string
	Config *anypb.Any
	// Entry is an entry of a map from names of filters to configurations, encoded.
	Entry []byte
	// Cost is what it costs each route that has it, in bytes of an Envoy.
	Cost int64
}

func (c filterConfig) equal(o filterConfig) bool {
	return c.Filter == o.Filter && c.Cost == o.Cost && slices.Equal(c.Entry, o.Entry)
}

func equalFilterConfigs(a, b []filterConfig) bool { return slices.EqualFunc(a, b, filterConfig.equal) }

// trialRoute returns a route that forwards and has the settings of the policy, and nothing else.
func trialRoute(p *policyRow, set func(feature.Have, *routev3.Route)) *routev3.Route {
	route := &routev3.Route{Action: &routev3.Route_Route{Route: &routev3.RouteAction{}}}
	set(p.Have, route)
	breakFilters(p.Policy, route)
	return route
}

// effect computes what a policy does to routes.
func (t *Tables) effect(_ *flow.Read, key string, p *policyRow) (*effectRow, bool) {
	e := &effectRow{
		Key: key, Ref: p.ref(), Broken: p.Broken, Clusters: p.Clusters, Cost: p.Cost, Traits: p.Traits,
		Route: proto.CloneOf(p.Route),
	}
	if p.ShapesCluster {
		e.Shape = &clusterShape{Policy: p.Policy, Members: p.Members, Have: p.Have}
	}
	for _, filter := range shareable(p.Route) {
		e.Filtered = !e.Broken
		e.Cost -= configCost(p.Route.TypedPerFilterConfig[filter])
		delete(e.Route.TypedPerFilterConfig, filter)
	}
	e.encoded = string(encode(e.Route))
	return e, true
}

// filterConfigs returns the configurations of a policy's filters that routes can share, by the names of the filters.
func (t *Tables) filterConfigs(_ *flow.Read, _ string, p *policyRow) (configs []filterConfig, ok bool) {
	if p.Broken {
		return nil, false
	}
	for _, filter := range shareable(p.Route) {
		config := p.Route.TypedPerFilterConfig[filter]
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), filter)
		entry = appendMessage(entry, 2, encode(config))
		configs = append(configs, filterConfig{Filter: filter, Config: config, Entry: entry, Cost: configCost(config)})
	}
	return configs, len(configs) > 0
}

// connectionOf returns what a policy says about connections that are forwarded without looking into them.
func connectionOf(_ *flow.Read, _ string, p *policyRow) (feature.Connection, bool) {
	return p.Connection, !p.Connection.Equal(feature.Connection{})
}

// shareable returns the sorted names of the filters on a route whose configurations routes can share.
func shareable(route *routev3.Route) []string {
	names := slices.Sorted(maps.Keys(route.GetTypedPerFilterConfig()))
	return slices.DeleteFunc(names, func(filter string) bool { return policies.Off(filter) == nil })
}

func configCost(config *anypb.Any) int64 { return feature.Encoded(config) }

// on sets the effect on a route of the rule with a name, except for the configurations that routes share.
func (e *effectRow) on(route *routev3.Route, rule feature.RouteName) {
	for filter, config := range e.Route.TypedPerFilterConfig {
		setFilter(route, filter, config)
	}
	if action := route.GetRoute(); action != nil {
		proto.Merge(action, e.Route.GetRoute())
		route.ResponseHeadersToRemove = append(route.ResponseHeadersToRemove, e.Route.ResponseHeadersToRemove...)
	}
	if e.Route.StatPrefix != "" {
		route.StatPrefix = feature.StatName(e.Route.StatPrefix, rule)
	}
	if e.Route.Tracing != nil {
		route.Tracing = e.Route.Tracing
	}
}

// statName is what the names of statistics may have of the rule.
func (b *boundRule) statName() feature.RouteName {
	route := b.rules.Route
	return feature.RouteName{
		Kind: string(route.Kind.Name), Namespace: route.Object.GetNamespace(), Name: route.Object.GetName(),
		Rule: string(deref(route.Rules[b.rule].Name)),
	}
}

// setFilter gives a filter its configuration on a route. The configuration is not copied.
func setFilter(route *routev3.Route, filter string, config *anypb.Any) {
	if route.TypedPerFilterConfig == nil {
		route.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	route.TypedPerFilterConfig[filter] = config
}

// switchOff makes filters do nothing on a route, even if its route configuration has configurations for them.
func switchOff(route *routev3.Route, filters []string) {
	for _, filter := range filters {
		setFilter(route, filter, policies.Off(filter))
	}
}

// effectiveKeys returns the keys of what takes effect along a chain of targets, by the index of the kind: of the policy
// that wins as a whole, or of the row that it is merged into. The key is empty if there is none.
func (t *Tables) effectiveKeys(r *flow.Read, chain []policies.Target) []string {
	along := t.winnersAlong(r, chain)
	effective := make([]string, len(policies.Kinds))
	for kind := range effective {
		if along.none {
			break // Most routes have no policy.
		}
		effective[kind] = mergedKey(along.line(kind))
	}
	return effective
}

// winners are the policies that the targets of a chain have, for each target by the index of their kind.
type winners struct {
	chain []policies.Target
	rows  [][]winnerRow
	none  bool
}

func (t *Tables) winnersAlong(r *flow.Read, chain []policies.Target) winners {
	w := winners{chain: chain, rows: make([][]winnerRow, len(chain)), none: true}
	for i, target := range chain {
		var found bool
		w.rows[i], found = t.winners.Get(r, placeKey(target))
		w.none = w.none && !found
	}
	return w
}

// at returns the policy of a kind that a target has.
func (w winners) at(kind int, target policies.Target) winnerRow {
	if rows := w.rows[slices.Index(w.chain, target)]; rows != nil {
		return rows[kind]
	}
	return winnerRow{}
}

// line returns the keys of the policies of a kind that take effect along the chain, the most specific one first.
func (w winners) line(kind int) []string {
	return policies.Effective(func(target policies.Target) (key string, merges bool) {
		winner := w.at(kind, target)
		return winner.Key, winner.Merges
	}, w.chain)
}

// effects returns the effects of the policies along a chain of targets, by the index of their kind; nil if there is
// none.
func (t *Tables) effects(r *flow.Read, chain []policies.Target) []*effectRow {
	keys := t.effectiveKeys(r, chain)
	effects := rowsOf(r, t.policyEffects, keys)
	for i, key := range keys {
		if key != "" && effects[i] == nil { // Unreachable: all combinations have a row. If not, nothing is served.
			effects[i] = &effectRow{Key: key, Broken: true}
		}
	}
	return effects
}

// rowsOf returns the rows of keys. An empty key has no row.
func rowsOf[T any](r *flow.Read, table *flow.Table[T], keys []string) []T {
	rows := make([]T, len(keys))
	for i, key := range keys {
		if key != "" {
			rows[i], _ = table.Get(r, key)
		}
	}
	return rows
}
