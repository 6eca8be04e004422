package translator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/translator/flow"
)

func (q *Requirement) equal(o *Requirement) bool {
	return q.Gateway == o.Gateway && q.Class == o.Class && q.EnvoyProxy == o.EnvoyProxy && q.Hold == o.Hold && slices.Equal(q.Ports, o.Ports)
}

// requirement is what the Gateway needs from the infrastructure. While the Gateway is not accepted, or has no listener that is
// served, nothing of what exists is touched.
func (t *Tables) requirement(r *flow.Read, key string, g *gatewayRow) (*Requirement, bool) {
	q := &Requirement{Gateway: g.Gateway, Class: g.Class, EnvoyProxy: g.EnvoyProxy}
	for _, row := range t.listenersByFleet.Lookup(r, key) {
		l := row.Value
		if l.Serves {
			q.Ports = append(q.Ports, Port{
				Name:     fmt.Sprintf("%s-%d", strings.ToLower(string(l.Spec.Protocol)), l.Spec.Port),
				Port:     l.Spec.Port,
				Target:   l.bindPort(),
				Protocol: l.protocol().transport,
			})
		}
	}
	slices.SortFunc(q.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Name, b.Name))
	})
	// Listeners for HTTPS and TLS may share a port, which has one name.
	q.Ports = slices.CompactFunc(q.Ports, func(a, b Port) bool { return a.Port == b.Port && a.Protocol == b.Protocol })
	q.Hold = !g.accepted() || len(q.Ports) == 0
	return q, true
}
