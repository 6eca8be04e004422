package translator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestAddressesOfTheService: each address that a Gateway asks for is one of its Service, no two the same, and nothing
// else is listed. What is missing is told by AddressesAssigned; if it has a value, or if nothing is left, the Gateway
// is not programmed. One that asks for nothing takes what comes.
func TestAddressesOfTheService(t *testing.T) {
	const (
		assigned, partially, not = gwapiv1.GatewayReasonAddressesAssigned, gwapiv1.GatewayReasonAddressesPartiallyAssigned,
			gwapiv1.GatewayReasonAddressesNotAssigned
		programmed     = gwapiv1.GatewayReasonProgrammed
		unusable, none = gwapiv1.GatewayReasonAddressNotUsable, gwapiv1.GatewayReasonAddressNotAssigned
	)
	balanced := FleetStatus{Addresses: ips("203.0.113.1"), Static: inCluster("10.96.0.7", "fd00::7")}
	external := FleetStatus{Addresses: ips("203.0.113.1"), Static: append(ips("192.0.2.7", "2001:db8::7"),
		inCluster("10.96.0.7")...)}
	inside := FleetStatus{Addresses: inCluster("10.96.0.7"), Static: inCluster("10.96.0.7")}
	named := FleetStatus{Addresses: []gwapiv1.GatewayStatusAddress{{
		Type:  ptr(gwapiv1.HostnameAddressType),
		Value: "lb.example.com",
	}}, Static: inCluster("10.96.0.7")}
	pending := FleetStatus{Static: inCluster("10.96.0.7")}
	refused := FleetStatus{Failure: "10.1.1.1 is not in the valid range"}
	for _, test := range []struct {
		name, asked string
		fleet       FleetStatus
		addresses   string
		assigned    gwapiv1.GatewayConditionReason
		programmed  gwapiv1.GatewayConditionReason
	}{
		{"nothing asked", "", balanced, "203.0.113.1", assigned, programmed},
		{"nothing asked inside", "", inside, "10.96.0.7 Cluster", assigned, programmed},
		{"nothing asked yet", "", pending, "", "", none},
		{"nothing there", "{}", FleetStatus{}, "", "", none},
		{"any address", "{}", balanced, "203.0.113.1", assigned, programmed},
		{"any address inside", "{routability: ''}", inside, "10.96.0.7 Cluster", assigned, programmed},
		{"any address yet", "{}", pending, "", not, none},
		{"any name", "{type: Hostname}", named, "lb.example.com", assigned, programmed},
		{"an IP of a name", "{type: IPAddress}", named, "", not, none},
		{"two of one", "{}, {}", balanced, "203.0.113.1", partially, programmed},
		{"assigned", "{value: 192.0.2.7}", external, "192.0.2.7", assigned, programmed},
		{"written otherwise", "{value: '2001:db8:0::7'}", external, "2001:db8::7", assigned, programmed},
		{"not yet assigned", "{value: 192.0.2.7}", balanced, "", not, none},
		{"one of two", "{value: 192.0.2.7}, {value: 192.0.2.8}", external, "192.0.2.7", partially, unusable},
		{"a name", "{type: Hostname, value: a.example.com}", balanced, "", not, none},
		{"a name among them", "{type: Hostname, value: a.example.com}, {}", balanced, "203.0.113.1", partially, unusable},
		{
			"sentinel", "{routability: testing.x-k8s.io/sentinel}", balanced, "203.0.113.1 testing.x-k8s.io/sentinel", assigned,
			programmed,
		},
		{"cluster", "{routability: Cluster}", inside, "10.96.0.7 Cluster", assigned, programmed},
		{
			"cluster of both families", "{routability: Cluster}, {routability: Cluster}", balanced,
			"10.96.0.7 Cluster, fd00::7 Cluster", assigned, programmed,
		},
		{
			"cluster with a value", "{routability: Cluster, value: 10.96.0.7}", balanced, "10.96.0.7 Cluster", assigned,
			programmed,
		},
		{"cluster with another value", "{routability: Cluster, value: 10.96.0.8}", balanced, "", not, none},
		{"cluster out of range", "{routability: Cluster, value: 10.1.1.1}", refused, "", not, none},
		{"cluster of a name", "{routability: Cluster, type: Hostname}, {}", balanced, "203.0.113.1", partially, programmed},
		{"two scopes", "{}, {routability: Cluster}", balanced, "203.0.113.1, 10.96.0.7 Cluster", assigned, programmed},
		{
			"two scopes the other way round", "{routability: Cluster}, {}", balanced, "10.96.0.7 Cluster, 203.0.113.1", assigned,
			programmed,
		},
		{"two scopes of one address", "{}, {routability: Cluster}", inside, "10.96.0.7 Cluster", partially, programmed},
		{"another's scope", "{routability: example.com/Wan}", balanced, "", not, none},
		{
			"another's scope with a value", "{}, {routability: example.com/Wan, value: 192.0.2.7}", external, "203.0.113.1",
			partially, unusable,
		},
		{"another's scope among them", "{routability: example.com/Wan}, {}", balanced, "203.0.113.1", partially, programmed},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.fleet.Available, test.fleet.Desired = 1, 1
			status := statusWith(t, test.asked, test.fleet)
			for kind, want := range map[gwapiv1.GatewayConditionType]gwapiv1.GatewayConditionReason{
				gwapiv1.GatewayConditionProgrammed: test.programmed, gwapiv1.GatewayConditionAddressesAssigned: test.assigned,
			} {
				c := meta.FindStatusCondition(status.Conditions, string(kind))
				if c == nil {
					c = &metav1.Condition{}
				}
				if good := c.Reason == string(programmed) || c.Reason == string(assigned); c.Reason != string(want) ||
					c.Reason != "" && good != (c.Status == metav1.ConditionTrue) {
					t.Errorf("%s is %s %s: %s; want %s", kind, c.Status, c.Reason, c.Message, want)
				}
			}
			var got []string
			for _, a := range status.Addresses {
				got = append(got, strings.TrimSpace(a.Value+" "+string(deref(a.Routability))))
			}
			if all := strings.Join(got, ", "); all != test.addresses {
				t.Errorf("addresses %q, want %q", all, test.addresses)
			}
		})
	}
}

// TestMoreAddressesThanTheStatusHolds: the API allows 16, and the condition reports whether there are more.
func TestMoreAddressesThanTheStatusHolds(t *testing.T) {
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("203.0.113.%d", i))
	}
	status := statusWith(t, "", FleetStatus{Available: 1, Desired: 1, Addresses: ips(all...)})
	if got := values(status.Addresses); !slices.Equal(got, all[:16]) {
		t.Errorf("addresses %q", got)
	}
	programmed := meta.FindStatusCondition(status.Conditions, string(gwapiv1.GatewayConditionProgrammed))
	if programmed.Status != "True" || !strings.Contains(programmed.Message, "20 addresses") {
		t.Errorf("Programmed is %s: %s", programmed.Status, programmed.Message)
	}
}

// statusWith is the status of a Gateway that asks for addresses, with everything acknowledged by its proxy.
func statusWith(t *testing.T, asked string, fleet FleetStatus) *gwapiv1.GatewayStatus {
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

func inCluster(values ...string) []gwapiv1.GatewayStatusAddress {
	all := ips(values...)
	for i := range all {
		all[i].Routability = ptr(gwapiv1.GatewayAddressRoutabilityCluster)
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

// TestFailureOfTheFleet: what keeps the fleet from being made is told in the Gateway's status, in the same words as in
// the log.
func TestFailureOfTheFleet(t *testing.T) {
	fleet := FleetStatus{
		Available: 1, Desired: 1, Addresses: ips("203.0.113.1"),
		Failure: "the name is taken: Service shop/g exists",
	}
	programmed := meta.FindStatusCondition(statusWith(t, "", fleet).Conditions, string(gwapiv1.GatewayConditionProgrammed))
	if programmed.Status != "False" || programmed.Reason != string(gwapiv1.GatewayReasonNoResources) ||
		programmed.Message != fleet.Failure {
		t.Errorf("Programmed is %s %s: %s", programmed.Status, programmed.Reason, programmed.Message)
	}
}
