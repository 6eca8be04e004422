package translator

import (
	"fmt"
	"slices"

	"gatehouse/translator/flow"
)

// waitingFor names what no ready Envoy has acknowledged yet, with Envoy's message if it rejected it.
func waitingFor(missing map[Name]string) string {
	names := make([]Name, 0, len(missing))
	for n := range missing {
		names = append(names, n)
	}
	first := slices.MinFunc(names, compareNames)
	if words := missing[first]; words != "" {
		return fmt.Sprintf("Envoy rejected %s: %s", first.Name, words)
	}
	return fmt.Sprintf("waiting for an Envoy to acknowledge %s", first.Name)
}

// missing lists what the fleet must have and none of its proxies has acknowledged, with Envoy's message if one rejected
// it. It is empty as soon as one proxy has everything. Each entry is a row, so that a listener waits only for what it
// needs itself.
func (t *Tables) missing(r *flow.Read, fleet string, _ *gatewayRow) []flow.Row[string] {
	var best map[Name]string
	proxies := t.proxiesByFleet.Lookup(r, fleet)
	for _, p := range proxies {
		lacks := t.lacks(r, fleet, p.Value)
		if best == nil || len(lacks) < len(best) {
			best = lacks
		}
	}
	if len(proxies) == 0 {
		best = t.lacks(r, fleet, Proxy{})
	}
	rows := make([]flow.Row[string], 0, len(best))
	for n, words := range best {
		rows = append(rows, flow.Row[string]{Key: missingKey(fleet, n), Value: words})
	}
	return rows
}

func missingKey(fleet string, n Name) string { return fleet + "|" + n.Type + "|" + n.Name }

// lacking is what the listener waits for. What it shares with others of its port is named after the first of them,
// which may be another team's. So it is reported by its port.
func (t *Tables) lacking(r *flow.Read, l *listenerRow) map[Name]string {
	if !l.Serves {
		return nil
	}
	needs := []Name{l.Gateway.routesOf(t.routeConfigName(r, l))}
	port, _ := t.listenersOfPorts.Get(r, l.portKey())
	for _, listener := range port {
		needs = append(needs, Name{listener.Type, listener.Name})
	}
	for _, secret := range t.secretsOf(r, l) {
		needs = append(needs, Name{typeSecret, secret})
	}
	if t.hasQUIC(r, l) {
		needs = append(needs, l.quicSecrets()...)
	}
	lacking := map[Name]string{}
	for _, n := range needs {
		words, ok := t.missingOfFleets.Get(r, missingKey(l.fleet(), n))
		if !ok {
			continue // A proxy has it.
		}
		if n.Type != typeSecret && n.Name != l.Key {
			n.Name = fmt.Sprintf("what listeners share on port %d", l.Spec.Port)
		}
		lacking[n] = words
	}
	return lacking
}

func (t *Tables) lacks(r *flow.Read, fleet string, p Proxy) map[Name]string {
	lacks := map[Name]string{}
	for _, l := range t.portListenersByFleet.Lookup(r, fleet) {
		res := l.Value
		if p.Listeners[res.Name] != res.Version {
			n := Name{res.Type, res.Name}
			lacks[n] = p.Rejected[n]
		}
		for _, need := range res.Needs {
			if need.Type == typeRoutes && !p.Routes[need.Name] || need.Type == typeScopes && !p.Scopes ||
				need.Type == typeSecret && !p.Secrets[need.Name] && t.serves(r, fleet, need) {
				lacks[need] = p.Rejected[need]
			}
		}
	}
	return lacks
}

// serves reports whether a certificate can be acknowledged at all. Its listener reports one that is absent or broken.
func (t *Tables) serves(r *flow.Read, fleet string, certificate Name) bool {
	return slices.ContainsFunc(t.offered, func(names *flow.Table[bool]) bool {
		_, ok := names.Get(r, fleet+"|"+certificate.Name)
		return ok
	})
}
