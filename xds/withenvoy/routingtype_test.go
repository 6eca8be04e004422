package withenvoy

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/infra/envoytest"
)

// TestRoutingType: with routingType Service, requests go to the address and the port of the Service, and otherwise to
// its endpoints. A server at the address stands for what Kubernetes does there.
func TestRoutingType(t *testing.T) {
	c := startTranslated(t, false)
	address := httptest.NewServer(named("address", func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(address.Close)
	objects := c.behind("web", named("endpoint", func(http.ResponseWriter, *http.Request) {}))
	spec := &objects[0].(*corev1.Service).Spec
	spec.ClusterIP, spec.ClusterIPs = "127.0.0.1", []string{"127.0.0.1"}
	spec.Ports[0].Port = int32(address.Listener.Addr().(*net.TCPAddr).Port)
	c.apply(objects...)
	route := c.route("web.test", nil)
	route.Spec.Rules[0].BackendRefs[0].Name, route.Spec.Rules[0].BackendRefs[0].Port = "web", &spec.Ports[0].Port
	c.apply(route)
	goes := func(to string) {
		t.Helper()
		envoytest.WaitFor(t, "requests to go to the "+to, func() bool { return ask(t, proxyPort, "web.test") == "200 "+to })
	}
	goes("endpoint")
	c.apply(c.traffic("HTTPRoute", "web.test", "{routingType: Service}"))
	goes("address")
	c.apply(c.traffic("HTTPRoute", "web.test", "{routingType: Endpoint}"))
	goes("endpoint")
}
