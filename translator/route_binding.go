package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// bindingRow is a route on a listener: what it adds to the listener's virtual hosts, and the clusters that this needs.
type bindingRow struct {
	Fleet string
	// Config is the key of the listener's route configuration, ConfigName its name.
	Config, ConfigName string
	// Scoped reports whether the hosts are scopes.
	Scoped bool

	Hosts []hostRoutes
	// Kind is that of the route, nil where there is none.
	Kind *routeKind
	// Guard has the filters of the listener, nil if it has none. It is closed if the route has no room for them on each
	// of its hosts.
	Guard *guardRow
	// Forward is set instead of everything about hosts if the listener is of layer 4.
	Forward  *forwarding
	Clusters []*clusterUse
	// Rejected are the rules with a part that Envoy rejected.
	Rejected []rejectedRule
}

// hostRoutes are a route's entries in one virtual host.
type hostRoutes struct {
	Host string
	// Hostname is the route's hostname that matches the host.
	Hostname string
	Routes   []routeEntry
	// Wider are the hosts whose routes answer all other requests for the host, if the routes are for ACME servers only.
	Wider []string
}

// routeEntry is one encoded route and its place among the others. Hosts, and listeners that a parentRef selects, share
// all of it except the name if it is the same for them.
type routeEntry struct {
	Order precedence
	Name  string
	Rest  []byte
	// Match is equal for matches of the same requests, see matchHash. It is empty for requests that the route does not
	// match itself.
	Match string
}

func (e routeEntry) equal(o routeEntry) bool {
	return e.Order == o.Order && e.Name == o.Name && e.Match == o.Match && slices.Equal(e.Rest, o.Rest)
}

// appendTo appends the encoded route.
func (e *routeEntry) appendTo(b []byte) []byte {
	return protowire.AppendString(protowire.AppendTag(append(b, e.Rest...), fieldRouteName, protowire.BytesType), e.Name)
}

// size is the length of the encoded route.
func (e *routeEntry) size() int {
	return len(e.Rest) + protowire.SizeTag(fieldRouteName) + protowire.SizeBytes(len(e.Name))
}

func (b *bindingRow) equal(o *bindingRow) bool {
	return b.Fleet == o.Fleet && b.Config == o.Config && b.ConfigName == o.ConfigName && b.Scoped == o.Scoped &&
		b.Forward.equal(o.Forward) &&
		b.Kind == o.Kind && b.Guard.equal(o.Guard) &&
		slices.Equal(b.Rejected, o.Rejected) && slices.EqualFunc(b.Clusters, o.Clusters, (*clusterUse).equal) &&
		slices.EqualFunc(b.Hosts, o.Hosts, func(a, b hostRoutes) bool {
			return a.Host == b.Host && a.Hostname == b.Hostname && slices.Equal(a.Wider, b.Wider) && slices.EqualFunc(a.Routes, b.Routes, routeEntry.equal)
		})
}

func (t *Tables) binding(r *flow.Read, key string, p *parentRow) []flow.Row[*bindingRow] {
	rules, ok := t.rulesOf.Get(r, p.Route.Key)
	if !ok {
		return nil // Unreachable: every route has its row.
	}
	var rows []flow.Row[*bindingRow]
	allowed := t.allow(r, p)
	for _, a := range p.Listeners {
		if !a.Listener.Serves || len(a.Hosts) == 0 {
			continue // The listener's own problems, or its more specific sibling, say why.
		}
		b := &bindingRow{Fleet: a.Listener.fleet()}
		allowed.here = a.copies()
		if a.Listener.protocol().layer4 {
			t.forward(r, b, rules, a, allowed)
		} else {
			t.bind(r, b, rules, a, allowed)
		}
		if len(rows) > 0 {
			b.share(rows[0].Value)
		}
		rows = append(rows, flow.Row[*bindingRow]{Key: key + "|" + a.Listener.Key, Value: b})
	}
	return rows
}

// share makes the routes of a listener use the bytes of those of another one if they are the same. They differ in the
// listener's policies and scheme.
func (b *bindingRow) share(other *bindingRow) {
	if len(other.Hosts) == 0 {
		return
	}
	for h := range b.Hosts {
		routes, theirs := b.Hosts[h].Routes, other.Hosts[min(h, len(other.Hosts)-1)].Routes
		for i := range min(len(routes), len(theirs)) {
			if slices.Equal(routes[i].Rest, theirs[i].Rest) {
				routes[i].Rest = theirs[i].Rest
			}
		}
	}
}

// bind adds the route's rules to the listener's virtual hosts.
func (t *Tables) bind(r *flow.Read, b *bindingRow, rules *rulesRow, a attachedListener, allowed allowance) {
	b.Config, b.ConfigName, b.Scoped = configKey(a.Listener), t.routeConfigName(r, a.Listener), a.Listener.Gateway.Scoped
	b.Kind = rules.Route.Kind
	if guard, ok := t.guards.Get(r, a.Listener.Key); ok {
		b.Guard, allowed.filters = guard, guard.Cost
		if allowed.left -= guard.Cost; allowed.left < 0 {
			b.Guard = guard.shut()
		}
	}
	answers := t.answer(r, rules.Route) != ""
	for _, host := range a.Hosts {
		routes := hostRoutes{Host: host, Hostname: hostname.Matching(host, rules.Route.Hostnames)}
		if answers {
			routes.Wider = wider(host, a.Listener)
		}
		b.Hosts = append(b.Hosts, routes)
	}
	plain := boundRule{rules: rules, listener: a.Listener}
	plain.common, _ = t.commons.Get(r, b.Config)
	t.bindRules(r, b, plain, allowed)
	if rejected := b.rejectedRules(); rejected >= rulesRejected && rejected < len(rules.Rules) {
		for h := range b.Hosts {
			b.Hosts[h].Routes = nil
		}
		b.Clusters, b.Rejected = nil, nil
		plain.withdrawn = fmt.Sprintf("Envoy rejected %d rules of the route, so it %s as a whole: change them", rejected,
			rules.Route.Kind.fails())
		t.bindRules(r, b, plain, allowed)
	}
}

// bindRules adds all rules, each in the given form.
func (t *Tables) bindRules(r *flow.Read, b *bindingRow, plain boundRule, allowed allowance) {
	q, _ := t.quarantines.Get(r, b.Fleet)
	for i := range plain.rules.Rules {
		bound := plain
		bound.rule = i
		t.resolve(r, b, &bound, q)
		allowed.charge(b, &bound)
		t.bindRule(b, &bound, q)
	}
}

// boundRule is a rule of a route on a listener.
type boundRule struct {
	rules    *rulesRow
	rule     int
	listener *listenerRow
	// effects are the effects of the policies in effect, by the index of their kind; nil for a kind without one.
	effects []*effectRow
	// common lists what all routes of the route configuration have in common, nil for nothing. own are configurations
	// of filters that these routes need besides.
	common   *commonRow
	own      []filterConfig
	clusters []*clusterUse
	// extra are the clusters of the rule's extra backends, nil for one that cannot be used.
	extra map[string]*clusterUse
	// answer is what the rule answers to an ACME server, without policies and backends. It is empty for almost all rules.
	answer string
	// traits are those of the listener. If it is closed, the rule answers 500.
	traits listenerTraits
	// rejected reports whether Envoy rejected a part of the rule, which then answers 500.
	rejected bool
	// withdrawn says why the rule does not forward although Envoy has not rejected it; empty if it does.
	withdrawn string
	// unmatchable reports whether Envoy rejected a match of the rule.
	unmatchable bool
	// collapsed reports whether one route replaces all matches of the rule. dropped reports whether not even that is
	// needed, because another rule has one.
	collapsed, dropped bool
}

// resolve finds the policies and clusters of a rule.
func (t *Tables) resolve(r *flow.Read, b *bindingRow, bound *boundRule, q quarantineRow) {
	bound.traits, _ = t.listenersTraits.Get(r, bound.listener.Key)
	if bound.answer = t.answer(r, bound.rules.Route); bound.answer != "" {
		return
	}
	t.resolveEffects(r, bound)
	if unmet := t.clusterUses(r, bound); unmet != "" {
		b.lack(bound, unmet)
	}
	bound.resolveNeeds()
	q.withoutRejected(b, bound)
	if words, rejected := bound.rejectedCommon(); rejected {
		b.reject(bound, words)
	}
	b.use(bound.clusters...)
	for _, field := range bound.extraFields() {
		b.use(bound.extra[field])
	}
}

// use adds clusters to those that the binding needs, except for nil ones.
func (b *bindingRow) use(clusters ...*clusterUse) {
	for _, c := range clusters {
		if c != nil && !slices.ContainsFunc(b.Clusters, func(known *clusterUse) bool { return known.Name == c.Name }) {
			b.Clusters = append(b.Clusters, c)
		}
	}
}

func (t *Tables) bindRule(b *bindingRow, bound *boundRule, q quarantineRow) {
	routes := t.ruleRoutes(b, bound)
	if words, rejected := q.anyOf(routes); rejected {
		b.reject(bound, words)
		routes = t.ruleRoutes(b, bound)
		if _, bound.unmatchable = q.anyOf(routes); bound.unmatchable {
			routes = t.ruleRoutes(b, bound)
		}
	}
	if bound.withdrawn != "" && !bound.rejected {
		b.withdraw(bound, bound.withdrawn)
		routes = t.ruleRoutes(b, bound)
	}
	for _, entry := range routes {
		if _, rejected := q[entry.hash(q)]; !rejected { // Nothing is left to try if it is.
			b.Hosts[entry.host].Routes = append(b.Hosts[entry.host].Routes, entry.routeEntry)
		}
	}
}

// ruleEntry is a route of a rule for one of the binding's hosts.
type ruleEntry struct {
	host int
	routeEntry
}

// hash is the hash under which Envoy's rejection of the route would be known. It is not needed while nothing is
// rejected.
func (e *ruleEntry) hash(q quarantineRow) string {
	if len(q) == 0 {
		return ""
	}
	return partHash(e.appendTo(nil))
}

// anyOf returns Envoy's message if it rejected one of the routes.
func (q quarantineRow) anyOf(routes []ruleEntry) (words string, rejected bool) {
	for _, entry := range routes {
		if words, rejected := q[entry.hash(q)]; rejected {
			return words, true
		}
	}
	return "", false
}

// ruleRoutes are the routes of a rule: one for each match, condition and host.
func (t *Tables) ruleRoutes(b *bindingRow, bound *boundRule) []ruleEntry {
	spec := &bound.rules.Route.Rules[bound.rule]
	if bound.dropped {
		return nil
	}
	conditions := bound.conditions()
	if len(spec.Matches) == 0 || bound.collapsed {
		return t.matchesRoutes(b, bound, nil, -1, conditions)
	}
	var entries []ruleEntry
	for m := range spec.Matches {
		entries = append(entries, t.matchesRoutes(b, bound, &spec.Matches[m], m, conditions)...)
	}
	return entries
}

// matchRoutes are the routes of one match with the condition that the order names, and of its preflights.
func (t *Tables) matchRoutes(b *bindingRow, bound *boundRule, match *gwapiv1.HTTPRouteMatch, order precedence, suffix string,
) []ruleEntry {
	route, m, also := bound.rules.Route, order.match, bound.conditions()[order.condition]
	order.created, order.route, order.rule = age(route.Object), route.Key, bound.rule
	order.proof = bound.answer != ""
	if bound.collapsed {
		order.hostname = hostname.Any // Behind all other routes.
	}
	if bound.unmatchable || (m >= 0 && bound.rules.Rules[bound.rule].Loose[m]) {
		built := t.newRoute(bound, match, also)
		looseRoute(bound, built, &order, bound.unmatchable)
		policies.SettleRule(&route.Rules[bound.rule], built)
		return b.routeEntries(bound, built, order, suffix)
	}
	var entries []ruleEntry
	routes := t.envoyRoutes(bound, match, also)
	own := matchHash(envoyMatchAnd(match, also))
	for i, built := range routes {
		order.share = i
		entries = append(entries, b.routeEntries(bound, built, order, suffix+shareSuffix(i, len(routes)))...)
	}
	for h := range b.Hosts {
		entries[h].Match = own // That of the first stands for all, as they are one match to other routes.
	}
	return entries
}

// routeEntries are the entries of a route of a match: those for the hosts come first.
func (b *bindingRow) routeEntries(bound *boundRule, built *feature.Route, order precedence, suffix string) []ruleEntry {
	message, match := built.Route, built.Match
	if bound.listener.guarded() && bound.answer == "" {
		behindFilters(message)
	}
	breakRoute(bound.rules.Route.Object, message)
	entries := b.onHosts(bound, built, order, suffix)
	if sessions := bound.withinSession(built); sessions != nil {
		within := order
		within.session = true
		entries = append(entries, b.onHosts(bound, sessions, within, suffix+"/session")...)
	}
	if tunnel := asTunnel(built); tunnel != nil {
		asked := order
		asked.tunnel = true
		entries = append(entries, b.onHosts(bound, tunnel, asked, suffix+"/connect")...)
	}
	kept := match != nil && keepsPreflights(match) || order.cookies > 0
	if kept && order.condition == 0 && bound.preflighted() {
		preflight := *built
		preflight.Route = asPreflight(message, &order)
		entries = append(entries, b.onHosts(bound, &preflight, order, suffix+"/cors-preflight")...)
	}
	return entries
}

// onHosts are the routes of one match, one for each host.
func (b *bindingRow) onHosts(bound *boundRule, route *feature.Route, order precedence, suffix string) []ruleEntry {
	entries := make([]ruleEntry, len(b.Hosts))
	var shared []byte
	for h := range b.Hosts {
		name := fmt.Sprintf("%s/rule/%d/match/%d/%s%s", bound.rules.Route.name(), bound.rule, order.match,
			hostname.InName(b.Hosts[h].Host), suffix)
		place := order
		place.hostname = cmp.Or(order.hostname, b.Hosts[h].Hostname)
		here := route.Route
		if route.OnHost != nil {
			here = route.OnHost(here, b.Hosts[h].Host)
		}
		rest := shared
		if here != route.Route {
			rest = encode(here)
		} else if shared == nil {
			shared = encode(here)
			rest = shared
		}
		entries[h] = ruleEntry{host: h, routeEntry: routeEntry{Order: place, Name: name, Rest: rest}}
	}
	return entries
}

// age is when an object was created, in seconds since 1970. An object that is not stored yet is younger than all that
// are.
func age(o Object) int64 {
	created := o.GetCreationTimestamp()
	if created.IsZero() {
		return 1 << 62
	}
	return created.Unix()
}

// name names the rule of a route, such as httproute/shop/products/rule/0, for logs and statistics.
func (b *boundRule) name() string {
	rule := cmp.Or(string(deref(b.rules.Route.Rules[b.rule].Name)), strconv.Itoa(b.rule))
	return b.rules.Route.name() + "/rule/" + rule
}

// closed reports whether nothing of the rule is served.
func (b *boundRule) closed() bool {
	broken := func(e *effectRow) bool { return e != nil && e.Broken }
	return b.rules.Rules[b.rule].Broken || b.rejected || b.traits.Closed || slices.ContainsFunc(b.effects, broken) ||
		b.lacks()
}
