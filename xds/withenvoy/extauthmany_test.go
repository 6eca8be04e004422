package withenvoy

import (
	"fmt"
	"net/http"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// TestServerOfManyRoutes: the authorization server of a policy on the Gateway is sent once for all routes. While none of
// them asks it, Envoy does not have its cluster and takes the routes nevertheless; without an answer none is let through.
func TestServerOfManyRoutes(t *testing.T) {
	for _, grpc := range []bool{false, true} {
		t.Run(fmt.Sprintf("grpc %t", grpc), func(t *testing.T) {
			c := startTranslated(t, false)
			guard := c.admitting("all", "Gateway", "web", nil)
			server := v1alpha1.BackendCluster{BackendRefs: []v1alpha1.BackendRef{{
				BackendObjectReference: gwapiv1.BackendObjectReference{Name: "users", Port: new(gwapiv1.PortNumber(80))},
			}}}
			guard.Spec.CORS, guard.Spec.ExtAuth = nil, &v1alpha1.ExtAuth{}
			if grpc {
				guard.Spec.ExtAuth.GRPC = &v1alpha1.GRPCExtAuthService{BackendCluster: server}
			} else {
				guard.Spec.ExtAuth.HTTP = &v1alpha1.HTTPExtAuthService{BackendCluster: server}
			}
			decide := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "ann" {
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			c.apply(c.behind("users", decide)...)
			c.apply(guard, c.admitting("free", "HTTPRoute", "free.test", nil), c.route("free.test", nil))
			c.serves(proxyPort, "free.test")

			asked := c.route("asked.test", nil)
			as := func(user string) int {
				t.Helper()
				return verbatim(t, http.MethodGet, "asked.test", "/", "Authorization: "+user).StatusCode
			}
			unknown, known := http.StatusUnauthorized, http.StatusOK
			if grpc {
				unknown, known = http.StatusForbidden, http.StatusForbidden // It does not speak gRPC.
			}
			for range 2 {
				c.apply(asked)
				envoytest.WaitFor(t, "the route that asks", func() bool { return as("bob") == unknown })
				if got := as("ann"); got != known {
					t.Errorf("whom the server knows gets %d, want %d", got, known)
				}
				c.delete(asked)
				envoytest.WaitFor(t, "the route to go", func() bool { return as("ann") == http.StatusNotFound })
				c.apply(c.route("free.test", nil), c.route("later.test", nil), c.admitting("later", "HTTPRoute", "later.test", nil))
				c.serves(proxyPort, "later.test")
				c.serves(proxyPort, "free.test")
				c.delete(c.route("later.test", nil))
			}
		})
	}
}
