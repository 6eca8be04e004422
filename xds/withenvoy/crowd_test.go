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

// crowd is the namespace of a tenant with many routes that Envoy rejects.
const crowd = "crowd"

// open allows routes of all namespaces on the Gateway, and creates a Service for the routes of the crowd.
func (s *judged) open() {
	gateway, service, slice := s.gateway(""), service("b"), s.slice("b")
	gateway.Spec.Listeners[0].AllowedRoutes = &gwapiv1.AllowedRoutes{Namespaces: &gwapiv1.RouteNamespaces{From: ptr(gwapiv1.NamespacesFromAll)}}
	service.Namespace, slice.Namespace = crowd, crowd
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "b"}
	s.put(gateway, service, slice)
}

// rejectedOwner is a GRPCRoute of the crowd with a number of rules, all of which Envoy rejects.
func rejectedOwner(i, rules int) *gwapiv1.GRPCRoute {
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

// convicted counts the routes of the crowd that report that Envoy rejected them.
func (s *judged) convicted() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for object, status := range s.statuses {
		if strings.HasPrefix(object, "*v1.GRPCRoute ") && len(status.Problems) > 0 &&
			strings.Contains(status.Problems[0].Message, "invalid perl operator") {
			n++
		}
	}
	return n
}

// rejections counts the responses with routes that Envoy has rejected.
func (s *judged) rejections() int { return s.stat("http.[^/]*rds.shop/web/http.update_rejected") }

// neighbour waits until a new route of another tenant is served, and returns how long that took and how many responses
// were rejected meanwhile.
func (s *judged) neighbour(name string) (time.Duration, int) {
	s.t.Helper()
	before, start := s.rejections(), time.Now()
	s.put(s.route(name, "a", ""))
	s.answers(name, http.StatusOK)
	return time.Since(start), s.rejections() - before
}

// TestQuarantineOfACrowd: while hundreds of routes of one tenant are rejected, a new route of another tenant is served,
// and no served route fails. The number of rejections grows with the number of the routes, and the rejections end after
// some time. The same holds if more parts are rejected than can be remembered.
func TestQuarantineOfACrowd(t *testing.T) {
	const (
		// owners are the routes of the tenant: with one rule each all parts are remembered, with three they are too
		// many.
		owners = 290
		// soon is the number of responses that may be rejected until a route of another tenant is served, out of about
		// one for each owner.
		soon = owners / 4
		// late is the time that it must not take, and end is when everything must be finished, on a busy machine.
		late, end = 15 * time.Second, 3 * time.Minute
	)
	for name, rules := range map[string]int{"some": 1, "more than is remembered": 3} {
		t.Run(name, func(t *testing.T) {
			s := judge(t)
			s.open()
			unharmed := s.unharmed()
			before, start := s.rejections(), time.Now()
			var objects []translator.Object
			for i := range owners {
				objects = append(objects, rejectedOwner(i, rules))
			}
			s.put(objects...)
			want, last := min(owners, remembered/rules), -1
			for i := 0; last != s.rejections() || s.convicted() < want; i++ {
				last = s.rejections()
				if took, rejected := s.neighbour(fmt.Sprint("neighbour", i)); took > late || rejected > soon {
					t.Errorf("after %d rejections, a route of another tenant took %s and %d more", last-before, took, rejected)
				}
				if time.Since(start) > end {
					t.Fatalf("after %s and %d rejections it has not come to rest, with %d of %d routes convicted", time.Since(start),
						s.rejections()-before, s.convicted(), want)
				}
				time.Sleep(200 * time.Millisecond)
			}
			t.Logf("%d routes cost %d rejections and %s", owners, s.rejections()-before, time.Since(start))
			if got := s.rejections() - before; got > 2*owners+100 {
				t.Errorf("%d routes cost %d rejections", owners, got)
			}
			unharmed()
		})
	}
}
