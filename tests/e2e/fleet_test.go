package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// customFleet is an EnvoyProxy that a Gateway names, and the Gateway. Connections are let go of within seconds, but not
// before the cluster knows: its controller of EndpointSlices waits for 1 s, then 2 s, if it has read what was not up to
// date.
const customFleet = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: custom}
spec:
  shutdown: {drainTimeout: 10s, minDrainDuration: 5s}
  provider:
    type: Kubernetes
    kubernetes:
      %s
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: custom}}
  listeners: [{name: http, protocol: HTTP, port: 80}]
`

// loads puts a Gateway under load over connections that are kept and over ones that are not. The end fails the test if
// a request failed.
func loads(t *testing.T, at, host string) (end func()) {
	t.Helper()
	kept := load(at, host)
	fresh := loadBy(&http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}, at, host)
	return func() {
		t.Helper()
		noneFailed(t, kept)
		noneFailed(t, fresh)
	}
}

// TestEnvoyLeavesUnderLoad: an Envoy that is told to stop finishes what it has begun and asks its clients to go
// elsewhere, so that taking one of two away loses no request.
func TestEnvoyLeavesUnderLoad(t *testing.T) {
	t.Parallel()
	s := newScene(t, "leave")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(customFleet, "envoyDeployment: {replicas: 2}"),
		route("r", "leave.example.com"))
	s.becomes(t, "gateway/gw", message(".status", "Programmed"), "2/2 envoy replicas available")
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET leave.example.com/", http.StatusOK)
	end := loads(t, at, "leave.example.com")
	pods, err := kubectl(append([]string{"get", "pods", "-o", "jsonpath={.items[*].metadata.name}"}, fleetOf(s)...)...)
	must(t, pods, err)
	for _, pod := range strings.Fields(pods) {
		out, err := kubectl("delete", "pod", "-n", "gatehouse-system", pod) // It waits until the Envoy is gone.
		must(t, out, err)
		s.becomes(t, "gateway/gw", message(".status", "Programmed"), "2/2 envoy replicas available")
	}
	end()
}

// TestFleetFollowsItsEnvoyProxy: the number of Envoys, and whether a Deployment or a DaemonSet runs them, follow the
// EnvoyProxy without failing a request; what somebody else changes is set right. Envoys know how many they are.
func TestFleetFollowsItsEnvoyProxy(t *testing.T) {
	t.Parallel()
	s := newScene(t, "follow")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(customFleet, "envoyDeployment: {replicas: 1}"),
		route("r", "follow.example.com"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET follow.example.com/", http.StatusOK)
	s.becomes(t, "envoyproxy/custom", condition(".status.ancestors[0]", "Accepted"), "True")
	fleet := func(what, path, want string) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s of %s is %q", path, what, want), func() error {
			out, err := kubectl(append([]string{"get", what, "-o", "jsonpath=" + path}, fleetOf(s)...)...)
			if err == nil && strings.TrimSpace(out) != want {
				err = fmt.Errorf("it is %q", out)
			}
			return err
		})
	}
	end := loads(t, at, "follow.example.com")
	s.apply(t, fmt.Sprintf(customFleet, "envoyDeployment: {replicas: 2}"))
	fleet("deployments", "{.items[*].status.readyReplicas}", "2")
	s.becomes(t, "gateway/gw", message(".status", "Programmed"), "2/2 envoy replicas available")
	eventually(t, "each Envoy knows both of the fleet, which zones are compared with", func() error {
		out, err := kubectl(append([]string{"get", "pods", "-o", "jsonpath={.items[*].status.podIP}"}, fleetOf(s)...)...)
		if err != nil {
			return fmt.Errorf("%s: %w", out, err)
		}
		for _, ip := range strings.Fields(out) {
			stats, err := inside("curl", "-s", "http://"+ip+":19001/stats/prometheus")
			if err != nil {
				return err
			}
			if !strings.Contains(stats, `envoy_cluster_membership_total{envoy_cluster_name="fleet"} 2`) {
				return fmt.Errorf("the Envoy at %s does not", ip)
			}
		}
		return nil
	})
	out, err := kubectl(append([]string{"scale", "deployments", "--replicas=3"}, fleetOf(s)...)...)
	must(t, out, err)
	fleet("deployments", "{.items[*].spec.replicas}", "2")
	s.apply(t, fmt.Sprintf(customFleet, "envoyDaemonSet: {}"))
	fleet("daemonsets", "{.items[*].status.numberReady}", "1")
	fleet("deployments", "{.items[*].metadata.name}", "")
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")
	end()
}

// TestDeletedServiceComesBack: whoever deletes a fleet's Service by mistake has it again in a moment, with the same
// ports.
func TestDeletedServiceComesBack(t *testing.T) {
	t.Parallel()
	s := newScene(t, "drift")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("r", "drift.example.com"))
	settles(t, address(t, s.namespace, "gw"), "GET drift.example.com/", http.StatusOK)
	out, err := kubectl(append([]string{"delete", "services"}, fleetOf(s)...)...)
	must(t, out, err)
	eventually(t, "the Gateway answers again", func() error {
		a, err := ask(address(t, s.namespace, "gw"), "GET drift.example.com/") // The address may be another one.
		if err == nil && a.code != http.StatusOK {
			err = fmt.Errorf("answered %d", a.code)
		}
		return err
	})
}

// TestLongNames: Gateways, listeners and routes may have the longest names that the API server takes; such Gateways,
// alike as far as a label goes, each have a fleet of their own.
func TestLongNames(t *testing.T) {
	t.Parallel()
	s := newScene(t, "long")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1))
	for _, end := range []string{"one", "two"} {
		name, host := strings.Repeat("g", 249)+"."+end, end+".long.example.com"
		gateway := strings.NewReplacer("name: gw", "name: "+name, "name: http", "name: "+name).Replace(plainGateway)
		s.apply(t, gateway, strings.ReplaceAll(route(name, host), "name: gw", "name: "+name))
		s.becomes(t, "gateway/"+name, condition(".status", "Programmed"), "True")
		settles(t, address(t, s.namespace, name), "GET "+host+"/", http.StatusOK)
	}
}
