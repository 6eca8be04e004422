package translator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestAddressesOfTheService: of a Gateway that asks for addresses only what its Service was given counts, and each one that is
// missing keeps it from being programmed. A Gateway that asks for nothing in particular takes what comes.
func TestAddressesOfTheService(t *testing.T) {
	balancer, first, second := "203.0.113.1", "192.0.2.7", "2001:db8::7"
	for _, test := range []struct {
		name, asked string
		static      []string
		addresses   []string
		reason      gwapiv1.GatewayConditionReason
	}{
		{"nothing asked", "", nil, []string{balancer}, gwapiv1.GatewayReasonProgrammed},
		{"any address", "{}", nil, []string{balancer}, gwapiv1.GatewayReasonProgrammed},
		{"assigned", "{value: 192.0.2.7}", []string{first}, []string{first}, gwapiv1.GatewayReasonProgrammed},
		{"written otherwise", "{value: '2001:db8:0::7'}", []string{second}, []string{second}, gwapiv1.GatewayReasonProgrammed},
		{"not yet assigned", "{value: 192.0.2.7}", nil, nil, gwapiv1.GatewayReasonAddressNotUsable},
		{"one of two", "{value: 192.0.2.7}, {value: 192.0.2.8}", []string{first}, []string{first}, gwapiv1.GatewayReasonAddressNotUsable},
		{"a name", "{type: Hostname, value: a.example.com}", nil, []string{balancer}, gwapiv1.GatewayReasonAddressNotUsable},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := statusWith(t, test.asked, Fleet{Available: 1, Desired: 1, Addresses: ips(balancer), Static: ips(test.static...)})
			programmed := meta.FindStatusCondition(status.Conditions, string(gwapiv1.GatewayConditionProgrammed))
			if programmed.Reason != string(test.reason) {
				t.Errorf("Programmed is %s: %s; want %s", programmed.Reason, programmed.Message, test.reason)
			}
			if got := values(status.Addresses); !slices.Equal(got, test.addresses) {
				t.Errorf("addresses %q, want %q", got, test.addresses)
			}
		})
	}
}

// TestMoreAddressesThanTheStatusHolds: the API allows 16, and the condition tells that there are more.
func TestMoreAddressesThanTheStatusHolds(t *testing.T) {
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("203.0.113.%d", i))
	}
	status := statusWith(t, "", Fleet{Available: 1, Desired: 1, Addresses: ips(all...)})
	if got := values(status.Addresses); !slices.Equal(got, all[:16]) {
		t.Errorf("addresses %q", got)
	}
	programmed := meta.FindStatusCondition(status.Conditions, string(gwapiv1.GatewayConditionProgrammed))
	if programmed.Status != "True" || !strings.Contains(programmed.Message, "20 addresses") {
		t.Errorf("Programmed is %s: %s", programmed.Status, programmed.Message)
	}
}

// statusWith is the status of a Gateway that asks for addresses, with everything acknowledged by its proxy.
func statusWith(t *testing.T, asked string, fleet Fleet) *gwapiv1.GatewayStatus {
	t.Helper()
	w := newWorld(t)
	var events []Event
	for _, o := range decode(t, []byte(fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: %s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: shop}
spec: {gatewayClassName: eg, infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: both}}, addresses: [%s], listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: both, namespace: shop}
spec: {ipFamily: DualStack}
`, controllerName, asked))) {
		events = append(events, Event{Object: o})
	}
	first, err := w.Apply(append(events, Event{Fleet: &FleetReport{Key: "shop/g", Fleet: fleet}}))
	if err != nil {
		t.Fatal(err)
	}
	proxy := Proxy{Fleet: "shop/g", Node: "x", Listeners: map[string]string{}, Routes: map[string]bool{}}
	for _, d := range first.Deltas {
		for _, r := range d.Changed {
			if r.Type == typeListener {
				proxy.Listeners[r.Name] = r.Version
			} else {
				proxy.Routes[r.Name] = true
			}
		}
	}
	second, err := w.Apply([]Event{{Proxy: &proxy}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(second.Statuses, first.Statuses...) {
		if status, ok := s.Desired.(*gwapiv1.GatewayStatus); ok {
			return status
		}
	}
	t.Fatal("the Gateway has no status")
	return nil
}

func ips(values ...string) []gwapiv1.GatewayStatusAddress {
	var all []gwapiv1.GatewayStatusAddress
	for _, v := range values {
		all = append(all, gwapiv1.GatewayStatusAddress{Type: ptr(gwapiv1.IPAddressType), Value: v})
	}
	return all
}

func values(addresses []gwapiv1.GatewayStatusAddress) []string {
	var all []string
	for _, a := range addresses {
		all = append(all, a.Value)
	}
	return all
}

// TestFailureOfTheFleet: what keeps the fleet from being made is told in the Gateway's status, in the same words as in the log.
func TestFailureOfTheFleet(t *testing.T) {
	fleet := Fleet{Available: 1, Desired: 1, Addresses: ips("203.0.113.1"), Failure: "the name is taken: Service shop/g exists"}
	programmed := meta.FindStatusCondition(statusWith(t, "", fleet).Conditions, string(gwapiv1.GatewayConditionProgrammed))
	if programmed.Status != "False" || programmed.Reason != string(gwapiv1.GatewayReasonNoResources) || programmed.Message != fleet.Failure {
		t.Errorf("Programmed is %s %s: %s", programmed.Status, programmed.Reason, programmed.Message)
	}
}
