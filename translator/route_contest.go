package translator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// contestRow has the routes that lose a listener to a route of another kind. Gateway API allows that a host of a
// listener is given to HTTPRoutes or to GRPCRoutes only, and then the oldest route decides (GRPCRoute, hostnames). It
// does not say in which order routes of both kinds would be tried.
type contestRow map[string]*routeRow // The winner by the key of the loser.

// contested are the listeners on which a route may compete with routes of another kind for hosts.
func contested(_ string, p *parentRow) []string {
	if p.Route.Kind.failure == 0 {
		return nil // Of layer 4.
	}
	return attachedTo("", p)
}

// contestedByKind are the kind of the route and each of these listeners.
func contestedByKind(_ string, p *parentRow) []string {
	if p.Route.Kind.failure == 0 {
		return nil
	}
	return onListeners(string(p.Route.Kind.Name), p)
}

// contest reads the claims of a listener only if routes of several kinds claim it.
func (t *Tables) contest(r *flow.Read, listener string, kinds []flow.Row[string]) (contestRow, bool) {
	if len(kinds) < 2 {
		return nil, false
	}
	members := slices.SortedFunc(slices.Values(t.claimsByListener.Lookup(r, listener)), func(a, b flow.Row[*parentRow]) int {
		x, y := a.Value.Route, b.Value.Route
		return cmp.Or(cmp.Compare(age(x.Object), age(y.Object)), cmp.Compare(keyOf(x.Object), keyOf(y.Object)),
			cmp.Compare(x.Kind.Name, y.Kind.Name))
	})
	lost := contestRow{}
	accepted := map[*routeKind]*occupied{}
	for _, m := range members {
		p := m.Value
		if winner := winnerOver(accepted, p, listener); winner != nil {
			lost[p.Route.Key] = winner.Route
			continue
		}
		if accepted[p.Route.Kind] == nil {
			accepted[p.Route.Kind] = &occupied{at: map[string]int{}, below: map[string]int{}}
		}
		accepted[p.Route.Kind].add(p, p.hosts(listener))
	}
	return lost, len(lost) > 0
}

// winnerOver is the first accepted route of another kind that shares a host of the listener.
func winnerOver(accepted map[*routeKind]*occupied, p *parentRow, listener string) *parentRow {
	for kind, others := range accepted {
		if kind == p.Route.Kind {
			continue
		}
		if first := others.first(p.hosts(listener)); first != nil {
			return first
		}
	}
	return nil
}

// occupied are the hosts that routes of a kind have on a listener. A host is found without a search through all.
type occupied struct {
	routes []*parentRow
	// at has the first route with a hostname, below the first route with a hostname that a wildcard covers.
	at, below map[string]int
}

func (o *occupied) add(p *parentRow, hosts []string) {
	first := func(in map[string]int, host string) {
		if _, taken := in[host]; !taken {
			in[host] = len(o.routes)
		}
	}
	for _, host := range hosts {
		first(o.at, host)
		first(o.below, hostname.Any)
		for _, wild := range hostname.Covering(host)[1:] {
			first(o.below, wild)
		}
	}
	o.routes = append(o.routes, p)
}

// first is the first route with a hostname that shares hosts with these; nil if there is none.
func (o *occupied) first(hosts []string) *parentRow {
	best := len(o.routes)
	for _, host := range hosts {
		for _, pattern := range append(hostname.Covering(host), hostname.Any) {
			if i, ok := o.at[pattern]; ok {
				best = min(best, i)
			}
		}
		if i, ok := o.below[host]; ok {
			best = min(best, i)
		}
	}
	if best == len(o.routes) {
		return nil
	}
	return o.routes[best]
}

// hosts are those that the route has on a listener.
func (p *parentRow) hosts(listener string) []string {
	for _, a := range p.Listeners {
		if a.Listener.Key == listener {
			return a.Hosts
		}
	}
	return nil
}

// outranked reports to a route of layer 4 where others take its connections. The route is accepted and attached
// nevertheless, as the official conformance tests require.
func (t *Tables) outranked(r *flow.Read, p *parentRow) *parentRow {
	told := *p
	for _, a := range p.Listeners {
		if !a.Listener.protocol().layer4 {
			continue
		}
		lost := t.taken(r, a, p.Route.Key)
		if len(lost) == 0 {
			continue
		}
		what, winner := "all that it accepts", "an older route"
		if a.Listener.protocol().sni {
			what, winner = strings.Join(lost, ", "), "another route, which is older or has a hostname that matches better"
		}
		told.Problems = append(slices.Clone(told.Problems), verdict.Problem{
			Field: fmt.Sprintf("spec.parentRefs[%d]", p.Index), Reason: string(gwapiv1.ListenerReasonHostnameConflict),
			Weight:    verdict.Conflicted,
			Condition: conditionHostnames, Scope: fmt.Sprint(p.Index),
			Message: fmt.Sprintf("listener %q forwards %s by %s, so this one gets nothing of it: use another listener, or delete the other route",
				a.Listener.Spec.Name, what, winner),
		})
	}
	return &told
}

// taken are the hosts of a route on a listener of layer 4 that other routes have.
func (t *Tables) taken(r *flow.Read, a attachedListener, route string) []string {
	owners := ownersOfHosts(t.forwarded(r, a.Listener))
	return slices.DeleteFunc(slices.Clone(a.Hosts), func(host string) bool {
		return owners[host] == nil ||
			owners[host].Route == route
	})
}

func equalContests(a, b contestRow) bool { return maps.EqualFunc(a, b, (*routeRow).equal) }

// keepWon is a claim without the listeners that another route has won.
func (t *Tables) keepWon(r *flow.Read, _ string, claim *parentRow) (*parentRow, bool) {
	key := claim.Route.Key
	var lost []string
	var winner *routeRow
	kept := *claim
	kept.Listeners = nil
	for _, a := range claim.Listeners {
		contest, _ := t.contests.Get(r, a.Listener.Key)
		if w := contest[key]; w != nil {
			lost, winner = append(lost, string(a.Listener.Spec.Name)), cmp.Or(winner, w)
			continue
		}
		kept.Listeners = append(kept.Listeners, a)
	}
	if len(lost) == 0 {
		return claim, true
	}
	name := string(winner.Kind.Name)
	if winner.Object.GetNamespace() == claim.Route.Object.GetNamespace() {
		name = fmt.Sprintf("%s %q", winner.Kind.Name, winner.Object.GetName())
	}
	problem := verdict.Problem{
		Field: "spec.hostnames", Reason: string(gwapiv1.ListenerReasonHostnameConflict), Weight: verdict.Conflicted,
		Scope: fmt.Sprint(claim.Index),
		Message: fmt.Sprintf("an older %s serves one of these hostnames on listener %q, and a host has either HTTPRoutes or "+
			"GRPCRoutes: use other hostnames or another listener", name, strings.Join(lost, ", ")),
	}
	if len(kept.Listeners) > 0 {
		problem.Condition = conditionHostnames
	}
	kept.Problems = append(slices.Clone(claim.Problems), problem)
	return &kept, true
}
