package translator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// rivalRoute is a route of a random world in plain words.
type rivalRoute struct {
	name      string
	created   int64
	hostnames []gwapiv1.Hostname
}

// characters counts, for a host, those of the route's hostnames that match it: of the longest without a wildcard, and of the longest at all
// (Gateway API, HTTPRoute hostnames).
func (r rivalRoute) characters(host string) (exact, all int) {
	for _, hostname := range r.hostnames {
		name, matches := string(hostname), string(hostname) == host
		if strings.HasPrefix(name, "*.") {
			matches = len(host) > len(name)-1 && host[len(host)-len(name)+1:] == name[1:]
		} else if matches {
			exact = max(exact, len(name))
		}
		if matches {
			all = max(all, len(name))
		}
	}
	return exact, all
}

// before reports whether the route precedes another for a host.
func (r rivalRoute) before(o rivalRoute, host string) bool {
	exact, all := r.characters(host)
	otherExact, otherAll := o.characters(host)
	switch {
	case exact != otherExact:
		return exact > otherExact
	case all != otherAll:
		return all > otherAll
	case r.created != o.created:
		return r.created < o.created
	}
	return r.name < o.name
}

// TestBestHostnameWins: for a host that is a listener's, the routes come in the order of the specification, whatever hostnames they have.
func TestBestHostnameWins(t *testing.T) {
	const host = "a.b.example.com"
	random := rand.New(rand.NewPCG(1, 1))
	patterns := []gwapiv1.Hostname{"a.b.example.com", "*.b.example.com", "*.example.com", "*.com", "b.b.example.com", "*.example.org"}
	for seed := range 300 {
		var routes []rivalRoute
		w := newWorld(t)
		g := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "g", UID: "g"}}
		g.Spec.GatewayClassName = "c"
		hostname := gwapiv1.Hostname(host)
		g.Spec.Listeners = []gwapiv1.Listener{
			{Name: "web", Port: 80, Protocol: gwapiv1.HTTPProtocolType, Hostname: &hostname},
			{Name: "tls", Port: 443, Protocol: gwapiv1.TLSProtocolType, Hostname: &hostname, TLS: &gwapiv1.ListenerTLSConfig{Mode: ptr(gwapiv1.TLSModePassthrough)}},
		}
		events := []Event{
			{Object: &gwapiv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "c", UID: "c"}, Spec: gwapiv1.GatewayClassSpec{ControllerName: controllerName}}},
			{Object: g},
			{Object: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s", UID: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}},
		}
		backend := gwapiv1.BackendRef{BackendObjectReference: gwapiv1.BackendObjectReference{Name: "s", Port: ptr[int32](80)}}
		for i := range 1 + random.IntN(4) {
			r := rivalRoute{name: fmt.Sprintf("r%d", i), created: int64(random.IntN(3))}
			for range 1 + random.IntN(3) {
				r.hostnames = append(r.hostnames, patterns[random.IntN(len(patterns))])
			}
			meta := metav1.ObjectMeta{Namespace: "n", Name: r.name, CreationTimestamp: metav1.NewTime(time.Unix(r.created, 0))}
			common := gwapiv1.CommonRouteSpec{ParentRefs: []gwapiv1.ParentReference{{Name: "g"}}}
			events = append(events, Event{Object: &gwapiv1.HTTPRoute{ObjectMeta: meta, Spec: gwapiv1.HTTPRouteSpec{
				CommonRouteSpec: common, Hostnames: r.hostnames, Rules: []gwapiv1.HTTPRouteRule{{BackendRefs: []gwapiv1.HTTPBackendRef{{BackendRef: backend}}}},
			}}}, Event{Object: &gwapiv1.TLSRoute{ObjectMeta: meta, Spec: gwapiv1.TLSRouteSpec{
				CommonRouteSpec: common, Hostnames: r.hostnames, Rules: []gwapiv1.TLSRouteRule{{BackendRefs: []gwapiv1.BackendRef{backend}}},
			}}})
			if _, all := r.characters(host); all > 0 {
				routes = append(routes, r)
			}
		}
		outcome, err := w.Apply(events)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{}
		slices.SortFunc(routes, func(a, b rivalRoute) int {
			if a.before(b, host) {
				return -1
			}
			return 1
		})
		for _, r := range routes {
			want = append(want, r.name)
		}
		served, forwarded := servedBy(t, outcome, host)
		if !slices.Equal(served, want) {
			t.Fatalf("world %d: %+v: the HTTPRoutes are tried in the order %v, want %v", seed, routes, served, want)
		}
		if want = want[:min(1, len(want))]; !slices.Equal(forwarded, want) {
			t.Fatalf("world %d: %+v: the TLSRoute of the host is %v, want %v", seed, routes, forwarded, want)
		}
	}
}

// servedBy lists the names of the HTTPRoutes of a host in Envoy's order, and of the TLSRoutes that have it.
func servedBy(t *testing.T, o Outcome, host string) (served, forwarded []string) {
	t.Helper()
	for _, r := range o.Deltas[0].Changed {
		m, err := r.message()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *routev3.RouteConfiguration:
			for _, v := range m.VirtualHosts {
				for _, route := range v.Routes {
					served = append(served, strings.Split(route.Name, "/")[2])
				}
			}
		case *listenerv3.Listener:
			for _, chain := range m.FilterChains {
				if name, ok := strings.CutPrefix(chain.Name, "tlsroute/n/"); ok && slices.Contains(chain.FilterChainMatch.ServerNames, host) {
					forwarded = append(forwarded, name)
				}
			}
		}
	}
	return served, forwarded
}
