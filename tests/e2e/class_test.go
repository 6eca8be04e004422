package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestClassDeletedUnderLoad: a GatewayClass that Gateways use is not deleted before them; and one that is taken away by
// force ends no traffic: the Gateway's Envoys serve on, new routes too, until the Gateway is deleted.
func TestClassDeletedUnderLoad(t *testing.T) {
	t.Parallel()
	s := newScene(t, "class")
	class := "of-" + s.namespace
	s.apply(t, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: %s}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
`, class), fmt.Sprintf(echoServer, "a", 1), strings.Replace(plainGateway, "gatewayClassName: eg", "gatewayClassName: "+class, 1), route("r", "class.example.com"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET class.example.com/", http.StatusOK)
	of := func(path string) string {
		out, _ := kubectl("get", "gatewayclass", class, "-o", "jsonpath="+path)
		return strings.TrimSpace(out)
	}
	eventually(t, "the class in use has its finalizer", func() error {
		if got := of("{.metadata.finalizers}"); got != `["gateway-exists-finalizer.gateway.networking.k8s.io"]` {
			return fmt.Errorf("finalizers %s", got)
		}
		return nil
	})
	end := loads(t, at, "class.example.com")
	out, err := kubectl("delete", "gatewayclass", class, "--wait=false")
	must(t, out, err)
	s.apply(t, route("second", "second.example.com"))
	settles(t, at, "GET second.example.com/", http.StatusOK)
	if of("{.metadata.deletionTimestamp}") == "" {
		t.Error("the class is gone, or was not deleted")
	}
	out, err = kubectl("patch", "gatewayclass", class, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	must(t, out, err)
	if out, err := kubectl("get", "gatewayclass", class); err == nil {
		t.Errorf("the class is still there: %s", out)
	}
	s.apply(t, route("third", "third.example.com"))
	settles(t, at, "GET third.example.com/", http.StatusOK)
	end()
	if fleet := strings.Fields(servedBy(t, s)); len(fleet) != 2 {
		t.Errorf("the fleet has %q, want a Deployment and a Service", fleet)
	}
	out, err = kubectl("delete", "gateway", "-n", s.namespace, "gw")
	must(t, out, err)
	eventually(t, "the fleet of the deleted Gateway is gone", func() error {
		if left := servedBy(t, s); left != "" {
			return fmt.Errorf("%s", left)
		}
		return nil
	})
}

// servedBy names the Deployments and Services of the Gateway of a scene.
func servedBy(t *testing.T, s scene) string {
	t.Helper()
	out, err := kubectl(append([]string{"get", "deployments,services", "-o", "name"}, fleetOf(s)...)...)
	return strings.TrimSpace(must(t, out, err))
}
