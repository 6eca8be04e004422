//go:build gatehousedebug

package withenvoy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

// crowd is the namespace of a tenant of whom Envoy refuses many routes.
const crowd = "crowd"

// open lets routes of all namespaces use the Gateway, and makes a Service for those of the crowd.
func (s *judged) open() {
	gateway, service, slice := s.gateway(""), service("b"), s.slice("b")
	gateway.Spec.Listeners[0].AllowedRoutes = &gwapiv1.AllowedRoutes{Namespaces: &gwapiv1.RouteNamespaces{From: ptr(gwapiv1.NamespacesFromAll)}}
	service.Namespace, slice.Namespace = crowd, crowd
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "b"}
	s.put(gateway, service, slice)
}

// refusedOwner is a GRPCRoute of the crowd with a number of rules, all of which Envoy refuses.
func refusedOwner(i, rules int) *gwapiv1.GRPCRoute {
	route := &gwapiv1.GRPCRoute{ObjectMeta: meta(fmt.Sprint("r", i), "true")}
	route.Namespace = crowd
	route.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "web", Namespace: ptr(gwapiv1.Namespace("shop"))}}
	route.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(fmt.Sprintf("r%d.crowd.example.com", i))}
	for rule := range rules {
		ref := gwapiv1.GRPCBackendRef{}
		ref.Name, ref.Port = "b", ptr(gwapiv1.PortNumber(80))
		route.Spec.Rules = append(route.Spec.Rules, gwapiv1.GRPCRouteRule{
			Matches:     []gwapiv1.GRPCRouteMatch{{Method: &gwapiv1.GRPCMethodMatch{Service: ptr(fmt.Sprint("shop.S", rule))}}},
			BackendRefs: []gwapiv1.GRPCBackendRef{ref},
		})
	}
	return route
}

// convicted counts the routes of the crowd that say that Envoy refused them.
func (s *judged) convicted() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for object, status := range s.statuses {
		if strings.HasPrefix(object, "*v1.GRPCRoute ") && len(status.Problems) > 0 && strings.Contains(status.Problems[0].Message, "invalid perl operator") {
			n++
		}
	}
	return n
}

// refusals counts the responses with routes that Envoy has refused.
func (s *judged) refusals() int { return s.stat("http.[^/]*rds.shop/web/http.update_rejected") }

// neighbour has a new route of another tenant served, and returns how long that took and how many responses were refused meanwhile.
func (s *judged) neighbour(name string) (time.Duration, int) {
	s.t.Helper()
	before, start := s.refusals(), time.Now()
	s.put(s.route(name, "a", ""))
	s.answers(name, http.StatusOK)
	return time.Since(start), s.refusals() - before
}

// TestQuarantineOfACrowd: while routes of one tenant are refused by the hundred, a new route of another tenant is served, and no route that is served
// fails. The number of refusals grows with that of the routes, and there are no more after some time. So it is when more is refused than is remembered.
func TestQuarantineOfACrowd(t *testing.T) {
	const (
		// owners are the routes of the tenant: with one rule each they are remembered, with three they are more than that.
		owners = 290
		// soon is how many responses may be refused until a route of another tenant is served, of about one for each owner.
		soon = owners / 4
		// late is what it must not take, and end is when all must have come to rest, on a machine that has much else to do.
		late, end = 15 * time.Second, 3 * time.Minute
	)
	for name, rules := range map[string]int{"some": 1, "more than is remembered": 3} {
		t.Run(name, func(t *testing.T) {
			s := judge(t)
			s.open()
			unharmed := s.unharmed()
			before, start := s.refusals(), time.Now()
			var objects []translator.Object
			for i := range owners {
				objects = append(objects, refusedOwner(i, rules))
			}
			s.put(objects...)
			want, last := min(owners, remembered/rules), -1
			for i := 0; last != s.refusals() || s.convicted() < want; i++ {
				last = s.refusals()
				if took, refused := s.neighbour(fmt.Sprint("neighbour", i)); took > late || refused > soon {
					t.Errorf("after %d refusals, a route of another tenant took %s and %d more", last-before, took, refused)
				}
				if time.Since(start) > end {
					t.Fatalf("after %s and %d refusals it has not come to rest, with %d of %d routes convicted", time.Since(start), s.refusals()-before, s.convicted(), want)
				}
				time.Sleep(200 * time.Millisecond)
			}
			t.Logf("%d routes cost %d refusals and %s", owners, s.refusals()-before, time.Since(start))
			if got := s.refusals() - before; got > 2*owners+100 {
				t.Errorf("%d routes cost %d refusals", owners, got)
			}
			unharmed()
		})
	}
}
