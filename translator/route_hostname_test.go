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

// routeOfHosts is a route of a random world in plain words.
type routeOfHosts struct {
	name      string
	created   int64
	hostnames []gwapiv1.Hostname
}

// characters counts, for a host, those of the route's hostnames that match it: of the longest without a wildcard, and
// of the longest at all (Gateway API, HTTPRoute hostnames).
func (r routeOfHosts) characters(host string) (exact, all int) {
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
func (r routeOfHosts) before(o routeOfHosts, host string) bool {
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

// worldOfHost is a Gateway with a listener for a host, of its own or of a ListenerSet, and another for the same server
// name of TLS.
func worldOfHost(host gwapiv1.Hostname, inSet, scoped bool) (parent gwapiv1.ParentReference, events []Event) {
	g := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "g", UID: "g"}}
	g.Spec.GatewayClassName = "c"
	if scoped {
		g.Annotations = map[string]string{ScopedRoutesAnnotation: "true"}
	}
	listeners := []gwapiv1.Listener{
		{Name: "web", Port: 80, Protocol: gwapiv1.HTTPProtocolType, Hostname: &host},
		{
			Name: "tls", Port: 443, Protocol: gwapiv1.TLSProtocolType, Hostname: &host,
			TLS: &gwapiv1.ListenerTLSConfig{Mode: ptr(gwapiv1.TLSModePassthrough)},
		},
	}
	parent = gwapiv1.ParentReference{Name: "g"}
	set := &gwapiv1.ListenerSet{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "ls", UID: "ls"}}
	if inSet {
		g.Spec.Listeners = []gwapiv1.Listener{{Name: "other", Port: 8080, Protocol: gwapiv1.HTTPProtocolType}}
		g.Spec.AllowedListeners = &gwapiv1.AllowedListeners{Namespaces: &gwapiv1.ListenerNamespaces{From: ptr(gwapiv1.NamespacesFromSame)}}
		set.Spec.ParentRef.Name, parent.Kind, parent.Name = "g", ptr(gwapiv1.Kind("ListenerSet")), "ls"
		for _, l := range listeners {
			set.Spec.Listeners = append(set.Spec.Listeners, gwapiv1.ListenerEntry(l))
		}
		events = append(events, Event{Object: set})
	} else {
		g.Spec.Listeners = listeners
	}
	return parent, append(events,
		Event{Object: &gwapiv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: "c", UID: "c"},
			Spec:       gwapiv1.GatewayClassSpec{ControllerName: controllerName},
		}},
		Event{Object: g},
		Event{Object: &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s", UID: "s"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}})
}

// objects are the route in HTTP or in gRPC, and as one of TLS.
func (r routeOfHosts) objects(parent gwapiv1.ParentReference, grpc bool) []Event {
	meta := metav1.ObjectMeta{Namespace: "n", Name: r.name, CreationTimestamp: metav1.NewTime(time.Unix(r.created, 0))}
	common := gwapiv1.CommonRouteSpec{ParentRefs: []gwapiv1.ParentReference{parent}}
	backend := gwapiv1.BackendRef{BackendObjectReference: gwapiv1.BackendObjectReference{Name: "s", Port: ptr[int32](80)}}
	var route Object = &gwapiv1.HTTPRoute{ObjectMeta: meta, Spec: gwapiv1.HTTPRouteSpec{
		CommonRouteSpec: common, Hostnames: r.hostnames,
		Rules: []gwapiv1.HTTPRouteRule{{BackendRefs: []gwapiv1.HTTPBackendRef{{BackendRef: backend}}}},
	}}
	if grpc {
		route = &gwapiv1.GRPCRoute{ObjectMeta: meta, Spec: gwapiv1.GRPCRouteSpec{
			CommonRouteSpec: common, Hostnames: r.hostnames,
			Rules: []gwapiv1.GRPCRouteRule{{BackendRefs: []gwapiv1.GRPCBackendRef{{BackendRef: backend}}}},
		}}
	}
	return []Event{{Object: route}, {Object: &gwapiv1.TLSRoute{ObjectMeta: meta, Spec: gwapiv1.TLSRouteSpec{
		CommonRouteSpec: common, Hostnames: r.hostnames,
		Rules: []gwapiv1.TLSRouteRule{{BackendRefs: []gwapiv1.BackendRef{backend}}},
	}}}}
}

// TestBestHostnameWins: for a host that is a listener's, exact or a wildcard, the routes come in the order of the
// specification, whatever hostnames they have, whatever kind they are of, and whoever wrote the listener.
func TestBestHostnameWins(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	patterns := []gwapiv1.Hostname{
		"a.b.example.com", "*.b.example.com", "*.example.com", "*.com", "b.b.example.com",
		"*.example.org",
	}
	for world := range 400 {
		host, inSet, grpc := []string{"a.b.example.com", "*.b.example.com"}[world%2], world/2%2 == 0, world/4%2 == 0
		parent, events := worldOfHost(gwapiv1.Hostname(host), inSet, world%2 == 0 && world/8%2 == 0)
		var routes []routeOfHosts
		for i := range 1 + random.IntN(4) {
			r := routeOfHosts{name: fmt.Sprintf("r%d", i), created: int64(random.IntN(3))}
			for range random.IntN(4) {
				r.hostnames = append(r.hostnames, patterns[random.IntN(len(patterns))])
			}
			events = append(events, r.objects(parent, grpc)...)
			if _, all := r.characters(host); all > 0 || len(r.hostnames) == 0 {
				routes = append(routes, r)
			}
		}
		outcome, err := newWorld(t).Apply(events)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{}
		slices.SortFunc(routes, func(a, b routeOfHosts) int {
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
			t.Fatalf("world %d: %+v: the routes of %s are tried in the order %v, want %v", world, routes, host, served, want)
		}
		if want = want[:min(1, len(want))]; !slices.Equal(forwarded, want) {
			t.Fatalf("world %d: %+v: the TLSRoute of %s is %v, want %v", world, routes, host, forwarded, want)
		}
	}
}

// servedBy lists the names of the routes of a host in Envoy's order, and of the TLSRoutes that have it.
func servedBy(t *testing.T, o Outcome, host string) (served, forwarded []string) {
	t.Helper()
	for _, r := range o.Deltas[0].Changed {
		m, err := r.message()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *routev3.RouteConfiguration:
			served = append(served, namesOf(m, host)...)
		case *routev3.ScopedRouteConfiguration:
			served = append(served, namesOf(m.RouteConfiguration, host)...)
		case *listenerv3.Listener:
			for _, chain := range m.FilterChains {
				if name, ok := strings.CutPrefix(chain.Name, "tlsroute/n/"); ok &&
					slices.Contains(chain.FilterChainMatch.ServerNames, host) {
					forwarded = append(forwarded, name)
				}
			}
		}
	}
	return served, forwarded
}

// namesOf lists the names of the routes of a host.
func namesOf(m *routev3.RouteConfiguration, host string) (names []string) {
	for _, v := range m.VirtualHosts {
		if !slices.Contains(v.Domains, host) {
			continue
		}
		for _, route := range v.Routes {
			names = append(names, strings.Split(route.Name, "/")[2])
		}
	}
	return names
}
