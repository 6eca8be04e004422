package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// familyGateway is a Gateway whose Envoys take connections at addresses of a family.
const familyGateway = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: family}
spec: {%s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: family}}
  listeners: [{name: http, protocol: HTTP, port: 80}]
`

// needIPv6 skips a test on machines whose kernel has no IPv6, where the cluster has none either.
func needIPv6(t *testing.T) {
	t.Helper()
	if ranges, err := kubectl("get", "nodes", "-o", "jsonpath={.items[0].spec.podCIDRs}"); !strings.Contains(ranges,
		"::") {
		t.Skipf("the cluster has no IPv6, only %s (%v)", ranges, err)
	}
}

// addresses waits until a Gateway has as many addresses of its own as is asked for.
func (s scene) addresses(t *testing.T, gateway string, count int) []string {
	t.Helper()
	var all []string
	eventually(t, fmt.Sprintf("Gateway %s has %d addresses", gateway, count), func() error {
		out, err := kubectl("get", "-n", s.namespace, "gateway", gateway, "-o", "jsonpath={.status.addresses[*].value}")
		if all = strings.Fields(out); err == nil && len(all) != count {
			err = fmt.Errorf("it has %q", out)
		}
		return err
	})
	return all
}

// answersInside waits until a host is answered with 200 at an address inside the cluster, of either family, and gives
// the body.
func answersInside(t *testing.T, at, host string) string {
	t.Helper()
	var body string
	eventually(t, fmt.Sprintf("%s answers for %s", at, host), func() (err error) {
		body, err = inside("curl", "-sSg", "--fail", "--max-time", "5", "-H", "Host: "+host,
			"http://"+net.JoinHostPort(at, "80")+"/")
		return err
	})
	return body
}

// TestDualStackGateway: a Gateway of both families has an address of each and answers at both. One that becomes dual
// stack while it serves keeps the address that it had, and when it is no longer, it has that one only.
func TestDualStackGateway(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	s := newScene(t, "dual")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(familyGateway, ""), route("r", "dual.example.com"))
	before := s.addresses(t, "gw", 1)[0]
	answersInside(t, before, "dual.example.com")

	s.apply(t, fmt.Sprintf(familyGateway, "ipFamily: DualStack"))
	both := s.addresses(t, "gw", 2)
	if both[0] != before || net.ParseIP(both[1]).To4() != nil {
		t.Errorf("the Gateway had %s and has now %v, want an address of IPv6 beside the old one", before, both)
	}
	for _, at := range both {
		answersInside(t, at, "dual.example.com")
	}
	if a := settles(t, address(t, s.namespace, "gw"), "GET dual.example.com/", 200); a.app() != "a" {
		t.Errorf("published, %q answered", a.asked.Pod)
	}

	s.apply(t, fmt.Sprintf(familyGateway, ""))
	if left := s.addresses(t, "gw", 1); left[0] != before {
		t.Errorf("the Gateway of one family again has %v, want %s", left, before)
	}
	answersInside(t, before, "dual.example.com")
}

// TestIPv6Gateway: a Gateway of IPv6 alone answers there, though its pods are probed at their IPv4 addresses.
func TestIPv6Gateway(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	s := newScene(t, "six")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(familyGateway, "ipFamily: IPv6"),
		route("r", "six.example.com"))
	at := s.addresses(t, "gw", 1)[0]
	if net.ParseIP(at).To4() != nil {
		t.Errorf("a Gateway of IPv6 has the address %s", at)
	}
	answersInside(t, at, "six.example.com")
	s.becomes(t, "gateway/gw", message(".status", "Programmed"), "1/1 envoy replicas available")
}

// familyService leads to the pods of the echo server a, by addresses of the given families.
const familyService = `
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {ipFamilyPolicy: %s, ipFamilies: [%s], selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]}
`

// handWritten is a Service without a selector and a slice of its endpoints.
const handWritten = `
apiVersion: v1
kind: Service
metadata: {name: by-hand}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-4, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv4
ports: [{name: http, port: 3000}]
endpoints: [{addresses: ["%s"]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-6, labels: {kubernetes.io/service-name: by-hand}}
addressType: IPv6
ports: [{name: http, port: 3000}]
endpoints: [{addresses: ["%s"]}]
`

// TestMixedEndpoints: a Gateway, itself of IPv4, serves Services whose endpoints are of IPv6, of both families, and of
// one pod by each family.
func TestMixedEndpoints(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	s := newScene(t, "mixed")
	to := func(name string) string {
		return strings.Replace(route(name, name+".example.com"), "name: a, port", "name: "+name+", port", 1)
	}
	s.apply(t, fmt.Sprintf(echoServer, "a", 2), plainGateway,
		fmt.Sprintf(familyService, "six", "SingleStack", "IPv6"), to("six"),
		fmt.Sprintf(familyService, "pods", "RequireDualStack", "IPv4, IPv6"), to("pods"))
	s.kubectl(t, "rollout", "status", "deployment/a", "--timeout=60s")
	pods := strings.Fields(s.kubectl(t, "get", "pods", "-l", "app=a", "-o", "jsonpath={.items[*].metadata.name}"))
	addresses := func(pod string) []string {
		return strings.Fields(s.kubectl(t, "get", "pod", pod, "-o", "jsonpath={.status.podIPs[*].ip}"))
	}
	s.apply(t, fmt.Sprintf(handWritten, addresses(pods[0])[0], addresses(pods[1])[1]), to("by-hand"))

	at := address(t, s.namespace, "gw")
	for _, name := range []string{"six", "pods", "by-hand"} {
		settles(t, at, "GET "+name+".example.com/", 200)
		// The controller of EndpointSlices may add the second pod seconds after both are ready.
		eventually(t, name+" is answered by both pods", func() error {
			counts := map[string]int{}
			for range 20 {
				a := asked(t, at, "GET "+name+".example.com/")
				if a.code != 200 {
					t.Errorf("%s: answered %d", name, a.code)
				}
				counts[a.asked.Pod]++
			}
			if len(counts) != 2 || counts[pods[0]] == 0 || counts[pods[1]] == 0 {
				return fmt.Errorf("20 requests were answered by %v, want both pods %v", counts, pods)
			}
			return nil
		})
	}
}
