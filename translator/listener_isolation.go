package translator

import (
	"fmt"
	"slices"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// lostHost is a host that a route would have on a listener if no other listener of the port had a hostname that fits
// better.
type lostHost struct {
	Host string
	To   *listenerRow
}

func (h lostHost) equal(o lostHost) bool { return h.Host == o.Host && h.To.equal(o.To) }

// isolate separates the hosts that a route has on a listener from those that belong to a more specific listener of the
// same port: a request belongs to one listener only (Gateway API, listener isolation).
func (t *Tables) isolate(r *flow.Read, l *listenerRow, hosts []string) (kept []string, lost []lostHost) {
	for _, host := range hosts {
		if owner := t.ownerOfHost(r, l, host); owner != nil {
			lost = append(lost, lostHost{host, owner})
		} else {
			kept = append(kept, host)
		}
	}
	return kept, lost
}

// ownerOfHost is the listener of the same port whose hostname fits a host better than the given one's, nil if none
// does.
func (t *Tables) ownerOfHost(r *flow.Read, l *listenerRow, host string) *listenerRow {
	for _, pattern := range hostname.Covering(host) {
		if hostname.Compare(pattern, l.hostname()) >= 0 {
			continue // It fits no better.
		}
		if rivals := t.rivalsByHost.Lookup(r, l.rivalKey(pattern)); len(rivals) > 0 {
			return rivals[0].Value
		}
	}
	return nil
}

// tellLost reports to a route, at one of its parents, the hosts that belong to other listeners, unless the route is
// attached to these too. Such a listener may belong to another team, be younger than the route, and not be served
// itself.
func (p *parentRow) tellLost(all []*parentRow) {
	hosts := map[string][]string{}
	var owners []*listenerRow
	for _, lost := range p.Lost {
		if slices.ContainsFunc(all, func(o *parentRow) bool { return o.attachedTo(lost.To) }) {
			continue // Its requests get there.
		}
		if hosts[lost.To.Key] == nil {
			owners = append(owners, lost.To)
		}
		hosts[lost.To.Key] = append(hosts[lost.To.Key], fmt.Sprintf("%q", lost.Host))
	}
	for _, owner := range owners {
		taken := hosts[owner.Key]
		slices.Sort(taken)
		named := strings.Join(slices.Compact(taken), ", ")
		p.Problems = append(slices.Clip(p.Problems), verdict.Problem{
			Field: "spec.hostnames", Reason: string(gwapiv1.ListenerReasonHostnameConflict), Weight: verdict.Conflicted,
			Condition: conditionHostnames, Scope: fmt.Sprint(p.Index),
			Message: fmt.Sprintf("%s belongs on port %d to %s, whose hostname fits better, so nothing of it gets here: attach the route there, or use other hostnames",
				named, owner.Spec.Port, p.nameOfListener(owner)),
			// Not the route's own hostnames, which are for nobody else to know.
			Loss: fmt.Sprintf("requests for %q on port %d, or a part of them", owner.hostname(), owner.Spec.Port),
		})
	}
}

func (p *parentRow) attachedTo(l *listenerRow) bool {
	return slices.ContainsFunc(p.Listeners, func(a attachedListener) bool { return a.Listener.Key == l.Key })
}

// nameOfListener names a listener to the route. A listener in another namespace is not named, unless the route names
// its owner.
func (p *parentRow) nameOfListener(l *listenerRow) string {
	owner := l.ownerRef()
	if owner != p.owner() && owner.Namespace != p.Route.Object.GetNamespace() {
		return fmt.Sprintf("a listener of a %s in another namespace", owner.Kind)
	}
	return fmt.Sprintf("listener %q of %s %s", l.Spec.Name, owner.Kind, Key(owner.Namespace, owner.Name))
}
