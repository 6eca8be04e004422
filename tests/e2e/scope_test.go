package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestClusterAddress: a Gateway that asks for addresses of the cluster alone is served at the cluster IP of its Service, which is not exposed.
func TestClusterAddress(t *testing.T) {
	experimentalGateways(t)
	s := newScene(t, "scope")
	gateway := func(addresses string) string {
		return strings.Replace(plainGateway, "gatewayClassName: eg", "gatewayClassName: eg\n  addresses: ["+addresses+"]", 1)
	}
	service := func(path string) string {
		out, err := kubectl(append([]string{"get", "services", "-o", "jsonpath={.items[0]." + path + "}"}, fleetOf(s)...)...)
		return must(t, out, err)
	}
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), gateway("{routability: Cluster}"), route("r", "scope.example.com"))
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")
	s.becomes(t, "gateway/gw", condition(".status", "AddressesAssigned"), "True")
	inside := service("spec.clusterIP")
	s.becomes(t, "gateway/gw", "{.status.addresses[*]['value','routability']}", inside+" Cluster")
	answersInside(t, inside, "scope.example.com")
	if exposed := service("spec.type") + service("spec.ports[*].nodePort") + service("status.loadBalancer.ingress[*].ip"); exposed != "ClusterIP" {
		t.Errorf("the Service is exposed: %s", exposed)
	}
}

// experimentalGateways lets Gateways have the fields of the experimental channel for the time of the test, during which no other may run.
func experimentalGateways(t *testing.T) {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	must(t, string(module), err)
	install := func(file string) {
		out, err := kubectl("apply", "--server-side", "--force-conflicts", "-f", file)
		must(t, out, err)
	}
	t.Cleanup(func() { install(filepath.Join(bin, "gateway-api-crds.yaml")) })
	install(filepath.Join(strings.TrimSpace(string(module)), "config/crd/experimental/gateway.networking.k8s.io_gateways.yaml"))
	eventually(t, "the API server serves the experimental fields", func() error {
		out, err := kubectl("explain", "gateway.spec.addresses.routability", "--api-version=gateway.networking.k8s.io/v1")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}
