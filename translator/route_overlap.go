package translator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// conditionOverlap, which is also its reason, is True on routes with a rule that matches the same requests as a rule of
// another route. Gateway API has no condition for this; the name is Envoy Gateway's.
const conditionOverlap = "RouteRulesOverlap"

// overlap is a match that a route has in common with another route for the same host.
type overlap struct {
	// Route is the key of the route, Other that of the other one.
	Route, Other string
	Rule, Match  int
	// First reports whether this route precedes the other and so gets the requests.
	First bool
}

// overlapRow are the overlaps of a route for one host.
type overlapRow struct {
	Route, Host string
	Overlaps    []overlap
}

func (o *overlapRow) equal(other *overlapRow) bool {
	return o.Route == other.Route && o.Host == other.Host && slices.Equal(o.Overlaps, other.Overlaps)
}

// matchHash is equal for matches of the same requests. The order of headers and parameters does not matter.
func matchHash(match *routev3.RouteMatch) string {
	if len(match.Headers) > 1 || len(match.QueryParameters) > 1 {
		match = proto.Clone(match).(*routev3.RouteMatch)
		slices.SortStableFunc(match.Headers, func(a, b *routev3.HeaderMatcher) int {
			return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
		})
		slices.SortStableFunc(match.QueryParameters, func(a,
			b *routev3.QueryParameterMatcher,
		) int {
			return cmp.Compare(a.Name, b.Name)
		})
	}
	return hash(encode(match), 8)
}

// overlapsOf finds the matches that routes have in common among the routes of a virtual host, which are in their order.
// Each route is reported what it has in common with the first, and the first what it has in common with the next. So
// each is reported once, however many there are.
func overlapsOf(entries []routeEntry) []overlap {
	if !slices.ContainsFunc(entries, func(e routeEntry) bool { return e.Order.route != entries[0].Order.route }) {
		return nil // What a route does twice is its own affair.
	}
	var found []overlap
	holders := make(map[string]int, len(entries)) // The first entry of each match, by its index.
	told := make([]bool, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.Match == "" {
			continue // It is not one of the route's own matches.
		}
		at, held := holders[e.Match]
		if !held {
			holders[e.Match] = i
			continue
		}
		h := entries[at].Order
		if h.route == e.Order.route {
			continue
		}
		if !told[at] {
			told[at] = true
			found = append(found, overlap{Route: h.route, Other: e.Order.route, Rule: h.rule, Match: h.match, First: true})
		}
		found = append(found, overlap{Route: e.Order.route, Other: h.route, Rule: e.Order.rule, Match: e.Order.match})
	}
	return found
}

// overlaps splits the overlaps of a virtual host by route, so that a change of the host affects only routes whose
// overlaps change.
func (t *Tables) overlaps(_ *flow.Read, key string, v *virtualHostRow) []flow.Row[*overlapRow] {
	byRoute := map[string]*overlapRow{}
	var rows []flow.Row[*overlapRow]
	for _, o := range v.Overlaps {
		if byRoute[o.Route] == nil {
			byRoute[o.Route] = &overlapRow{Route: o.Route, Host: v.Host}
			rows = append(rows, flow.Row[*overlapRow]{Key: key + "|" + o.Route, Value: byRoute[o.Route]})
		}
		byRoute[o.Route].Overlaps = append(byRoute[o.Route].Overlaps, o)
	}
	return rows
}

// overlappingRoutes finds the overlaps of a route in a route configuration.
func overlappingRoutes(key string, o *overlapRow) []string {
	config, _ := splitLast(strings.TrimSuffix(key, "|"+o.Route))
	return []string{config + "|" + o.Route}
}

// tellOverlaps adds a problem to a route for each place at a parent where another route precedes it. It returns the
// places where the route precedes others: its status reports them, but they are not problems.
func (t *Tables) tellOverlaps(r *flow.Read, p *parentRow) (first []verdict.Problem) {
	hosts := map[overlap][]string{}
	for _, a := range p.Listeners {
		for _, row := range t.overlapsByRoute.Lookup(r, configKey(a.Listener)+"|"+p.Route.Key) {
			if !slices.Contains(a.Hosts, row.Value.Host) {
				continue // Another parent of the route has the host.
			}
			for _, o := range row.Value.Overlaps {
				hosts[o] = append(hosts[o], row.Value.Host)
			}
		}
	}
	for _, o := range slices.SortedFunc(maps.Keys(hosts), compareOverlaps) {
		if problem := p.overlapProblem(o, hosts[o]); o.First {
			first = append(first, problem)
		} else {
			p.Problems = append(slices.Clip(p.Problems), problem)
		}
	}
	return first
}

func compareOverlaps(a, b overlap) int {
	return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Match, b.Match), cmp.Compare(a.Other, b.Other),
		compareBool(a.First, b.First))
}

// maxHosts is how many hosts are named in a message.
const maxHosts = 3

func (p *parentRow) overlapProblem(o overlap, hosts []string) verdict.Problem {
	problem := verdict.Problem{
		Field: fmt.Sprintf("spec.rules[%d]", o.Rule), Reason: conditionOverlap, Condition: conditionOverlap,
		Weight: verdict.Conflicted, Scope: fmt.Sprint(p.Index),
	}
	if o.Match >= 0 {
		problem.Field += fmt.Sprintf(".matches[%d]", o.Match)
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	named := strings.Join(hosts[:min(len(hosts), maxHosts)], ", ")
	if rest := len(hosts) - maxHosts; rest > 0 {
		named += fmt.Sprintf(" and %d more", rest)
	}
	problem.Message = fmt.Sprintf("%s comes first for the same requests to %s, being older or having a hostname that fits better: change this match, or delete one of the two",
		p.Route.nameOf(o.Other), named)
	problem.Loss = fmt.Sprintf("requests to %s, which it has answered until now", named)
	if o.First {
		problem.Message = fmt.Sprintf("%s matches the same requests to %s; this route comes first and answers them",
			p.Route.nameOf(o.Other), named)
	}
	return problem
}

// nameOf names another route by its key. A route in another namespace is not named.
func (row *routeRow) nameOf(key string) string {
	kind, rest, _ := strings.Cut(key, "/")
	namespace, name := splitNamespace(rest)
	if namespace != row.Object.GetNamespace() {
		return "a route of another namespace"
	}
	return fmt.Sprintf("%s %q", kind, name)
}

// overlapCondition exists while a rule of the route overlaps with one of another route.
func overlapCondition(problems []verdict.Problem) []metav1.Condition {
	conditions := status.FalseOnly(conditionOverlap, problems)
	for i := range conditions {
		conditions[i].Status = metav1.ConditionTrue
	}
	return conditions
}
