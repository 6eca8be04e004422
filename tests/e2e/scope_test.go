package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestClusterAddress: a Gateway that asks for addresses of the cluster alone is served at the cluster IP of its
// Service, which is not exposed. One that asks for another address besides is served at both.
func TestClusterAddress(t *testing.T) {
	t.Parallel()
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
	if exposed := service("spec.type") + service("spec.ports[*].nodePort") +
		service("status.loadBalancer.ingress[*].ip"); exposed != "ClusterIP" {
		t.Errorf("the Service is exposed: %s", exposed)
	}

	s.apply(t, gateway("{routability: Cluster}, {}"))
	s.becomes(t, "gateway/gw", "{.status.addresses[*].routability}", "Cluster")
	s.becomes(t, "gateway/gw", condition(".status", "AddressesAssigned"), "True")
	s.becomes(t, "gateway/gw", "{.status.addresses[0].value}", inside)
	answersInside(t, inside, "scope.example.com")
	outside := service("status.loadBalancer.ingress[0].ip")
	s.becomes(t, "gateway/gw", "{.status.addresses[1].value}", outside)
	answersInside(t, outside, "scope.example.com")

	// Back again nothing is exposed any more.
	s.apply(t, gateway("{routability: Cluster}"))
	s.becomes(t, "gateway/gw", "{.status.addresses[*].value}", inside)
	eventually(t, "the Service is not exposed any more", func() error {
		if exposed := service("spec.type") + service("spec.ports[*].nodePort"); exposed != "ClusterIP" {
			return fmt.Errorf("it is: %s", exposed)
		}
		return nil
	})
	answersInside(t, inside, "scope.example.com")

	out, err := s.tryApply(gateway("{routability: example.com/CorpWan}"))
	if must(t, out, err); !strings.Contains(out,
		`Warning: spec.addresses[0].routability: "example.com/CorpWan" is not served`) {
		t.Errorf("a scope that nobody serves is not warned of: %s", out)
	}
	s.becomes(t, "gateway/gw", reason(".status", "AddressesAssigned"), "NotAssigned")
	s.becomes(t, "gateway/gw", reason(".status", "Programmed"), "AddressNotAssigned")

	// What is not a cluster IP of this cluster is refused by the API server, and told.
	other := newScene(t, "range")
	other.apply(t, gateway("{routability: Cluster, value: 192.0.2.9}"))
	other.becomes(t, "gateway/gw", reason(".status", "AddressesAssigned"), "NotAssigned")
	other.becomes(t, "gateway/gw", reason(".status", "Programmed"), "AddressNotAssigned")
}
