package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestStaticAddress: a Gateway is served at the IP address that it asks for, and says no other. A name that it asks for
// besides keeps it from being programmed, and nothing else.
func TestStaticAddress(t *testing.T) {
	t.Parallel()
	const asked = "10.98.250.7"
	s := newScene(t, "static")
	gateway := strings.Replace(plainGateway, "gatewayClassName: eg",
		"gatewayClassName: eg\n  addresses: [{value: "+asked+"}%s]", 1)
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(gateway, ""), route("r", "static.example.com"))
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")
	s.becomes(t, "gateway/gw", "{.status.addresses[*].value}", asked)
	answersInside(t, asked, "static.example.com")

	out, err := s.tryApply(fmt.Sprintf(gateway, ", {type: Hostname, value: static.example.com}"))
	if must(t, out, err); !strings.Contains(out, "Warning: spec.addresses[1].value") {
		t.Errorf("a name among the addresses is not warned of: %s", out)
	}
	s.becomes(t, "gateway/gw", reason(".status", "Programmed"), "AddressNotUsable")
	s.becomes(t, "gateway/gw", condition(".status", "Accepted"), "True")
	s.becomes(t, "gateway/gw", "{.status.addresses[*].value}", asked)
}

// TestManyAddresses: a Gateway can have all the sixteen addresses that it may ask for, and is served at each. A load
// balancer that gives it more than its status may list does no harm: the first sixteen are listed, the rest is told, and
// all of them are served.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	s := newScene(t, "addresses")
	var asked, given, ingress []string
	for i := range 20 {
		ip := fmt.Sprintf("10.98.251.%d", 10+i)
		given = append(given, ip)
		ingress = append(ingress, fmt.Sprintf(`{"ip":%q,"ipMode":"VIP"}`, ip))
		if i < 16 {
			asked = append(asked, fmt.Sprintf("{value: 10.98.252.%d}", 10+i))
		}
	}
	s.apply(t, fmt.Sprintf(echoServer, "a", 1),
		strings.Replace(plainGateway, "gatewayClassName: eg", "gatewayClassName: eg\n  addresses: ["+strings.Join(asked,
			", ")+"]", 1),
		route("r", "addresses.example.com"))
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")
	var values []string
	for i := range asked {
		ip := fmt.Sprintf("10.98.252.%d", 10+i)
		values = append(values, ip)
		answersInside(t, ip, "addresses.example.com")
	}
	s.becomes(t, "gateway/gw", "{.status.addresses[*].value}", strings.Join(values, " "))
	s.kubectl(t, "delete", "gateway", "gw")

	// A load balancer of this class is nobody's in the local cluster, so the test is it.
	s.apply(t, fmt.Sprintf(customFleet, "envoyService: {loadBalancerClass: example.org/many}"))
	var service string
	eventually(t, "the Service of the fleet", func() (err error) {
		service, err = kubectl(append([]string{"get", "services", "-o", "name"}, fleetOf(s)...)...)
		if service = strings.TrimSpace(service); err == nil && service == "" {
			err = fmt.Errorf("there is none")
		}
		return err
	})
	s.becomes(t, "gateway/gw", reason(".status", "Programmed"), "AddressNotAssigned")
	out, err := kubectl("patch", "-n", "gatehouse-system", service, "--subresource=status", "--type=merge", "-p",
		`{"status":{"loadBalancer":{"ingress":[`+strings.Join(ingress, ",")+`]}}}`)
	must(t, out, err)
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")
	s.becomes(t, "gateway/gw", "{.status.addresses[*].value}", strings.Join(given[:16], " "))
	if told := s.kubectl(t, "get", "gateway", "gw", "-o", "jsonpath="+message(".status",
		"Programmed")); !strings.Contains(told, "has 20 addresses") {
		t.Errorf("that there are more is not told: %s", told)
	}
	for _, ip := range given {
		answersInside(t, ip, "addresses.example.com")
	}
}
