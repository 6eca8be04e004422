package translator

import (
	"cmp"
	"slices"

	"gatehouse/translator/flow"
)

func (q *Requirement) equal(o *Requirement) bool {
	return q.Gateway == o.Gateway && q.EnvoyProxy == o.EnvoyProxy && q.Hold == o.Hold && slices.Equal(q.Ports, o.Ports)
}

// requirement is what the Gateway needs from the infrastructure. Existing objects are not changed while the Gateway is
// not accepted, cannot have any of the addresses that it requests, or has no listener that is served.
func (t *Tables) requirement(r *flow.Read, key string, g *gatewayRow) (*Requirement, bool) {
	q := &Requirement{Gateway: g.Gateway, EnvoyProxy: g.EnvoyProxy}
	for _, row := range t.portsByFleet.Lookup(r, key) {
		q.Ports = append(q.Ports, row.Value.Exposed...)
	}
	slices.SortFunc(q.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Protocol, b.Protocol))
	})
	q.Hold = !g.accepted() || g.hopeless() || len(q.Ports) == 0
	return q, true
}
