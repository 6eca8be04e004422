package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ofOlder is what clusters with any CRDs take: routes of each kind, a port with both modes of TLS, a ListenerSet, and
// policies. The Gateway inside has an address of the cluster only, of which older CRDs cannot tell the scope.
const ofOlder = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: tcp, protocol: TCP, port: 9000}
  - {name: udp, protocol: UDP, port: 9001}
  - {name: through, protocol: TLS, port: 8443, hostname: through.example.com, tls: {mode: Passthrough}}
  - {name: ended, protocol: TLS, port: 8443, hostname: ended.example.com, tls: {mode: Terminate, certificateRefs: [{name: pair}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {name: gw}
  listeners: [{name: more, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: inside}
spec:
  gatewayClassName: eg
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: inside}}
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: gw, sectionName: http}]
  hostnames: [older.example.com]
  rules:
  - name: web
    %s
    backendRefs: [{name: a, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: tcp}
spec:
  parentRefs: [{name: gw, sectionName: tcp}]
  rules: [{backendRefs: [{name: a, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: udp}
spec:
  parentRefs: [{name: gw, sectionName: udp}]
  rules: [{backendRefs: [{name: more, port: 53}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: through}
spec:
  parentRefs: [{name: gw, sectionName: through}]
  hostnames: [through.example.com]
  rules: [{backendRefs: [{name: a, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: ended}
spec:
  parentRefs: [{name: gw, sectionName: ended}]
  hostnames: [ended.example.com]
  rules: [{backendRefs: [{name: a, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: grpc}
spec:
  parentRefs: [{kind: ListenerSet, name: more}]
  rules: [{backendRefs: [{name: more, port: 443}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: more}
spec:
  targetRefs: [{group: "", kind: Service, name: more, sectionName: secured}]
  validation: {hostname: more.example.com, wellKnownCACertificates: System}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: retries}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  retry: {numRetries: 2, retryOn: {triggers: [connect-failure]}}
`

// moreOfOlder is what the objects of ofOlder name.
const moreOfOlder = `
apiVersion: v1
kind: Service
metadata: {name: more}
spec: {selector: {app: a}, ports: [{name: secured, port: 443, targetPort: web}, {name: udp, protocol: UDP, port: 53}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: inside}
spec: {provider: {type: Kubernetes, kubernetes: {envoyService: {type: ClusterIP}}}}
`

// newFeatures need fields of Gateways that older CRDs do not have.
var newFeatures = []string{"GatewayAddressRoutability", "GatewayAddressRoutabilityCluster", "GatewayListenerFilters"}

// TestOlderCRDs: in a cluster with the CRDs of Gateway API v1.6, or of the standard channel, a control plane starts,
// serves what these CRDs know, and writes statuses that are stored as they are. GatewayClasses list what these CRDs can
// ask for. The sessions of v1.6 have the names that users gave them there.
func TestOlderCRDs(t *testing.T) {
	t.Cleanup(func() { haveDefinitions(t, "gateway-api-crds.yaml") })
	for _, c := range []struct{ file, rule string }{
		{"gateway-api-crds-1.6.yaml", "sessionPersistence: {type: Header, sessionName: x-cart}"},
		{"gateway-api-crds-standard.yaml", "timeouts: {request: 10s}"},
	} {
		t.Run(strings.TrimSuffix(c.file, ".yaml"), func(t *testing.T) {
			haveDefinitions(t, c.file)
			out, err := kubectl("rollout", "restart", "deployment/gatehouse", "-n", "gatehouse-system")
			must(t, out, err)
			out, err = kubectl("rollout", "status", "deployment/gatehouse", "-n", "gatehouse-system", "--timeout=60s")
			must(t, out, err)
			lives(t)
			s := newScene(t, "older")
			certificate, key := newPair(t, 1)
			pair := strings.Replace(secret("pair", certificate, key), ", namespace: default", "", 1)
			s.apply(t, fmt.Sprintf(echoServer, "a", 2), moreOfOlder, pair, fmt.Sprintf(ofOlder, c.rule))
			at := address(t, s.namespace, "gw")
			first := settles(t, at, "GET older.example.com/", http.StatusOK)
			settles(t, at+":9000", "GET any.example.com/", http.StatusOK)
			routes := []string{
				"httproute/web", "tcproute/tcp", "udproute/udp", "tlsroute/through", "tlsroute/ended",
				"grpcroute/grpc",
			}
			for _, route := range routes {
				s.becomes(t, route, condition(".status.parents[0]", "Accepted"), "True")
				s.becomes(t, route, condition(".status.parents[0]", "ResolvedRefs"), "True")
			}
			for _, policy := range []string{"backendtrafficpolicy/retries", "backendtlspolicy/more"} {
				s.becomes(t, policy, condition(".status.ancestors[0]", "Accepted"), "True")
			}
			for _, served := range []string{"gateway/gw", "gateway/inside", "listenerset/more"} {
				s.becomes(t, served, condition(".status", "Programmed"), "True")
			}
			listsNew(t, false)
			calm(t, s, append(routes, "gateway/gw", "gateway/inside", "listenerset/more", "backendtlspolicy/more",
				"gatewayclass/eg")...)
			if strings.Contains(c.rule, "x-cart") {
				staysWith(t, at, "x-cart", first)
			}
		})
	}
	haveDefinitions(t, "gateway-api-crds.yaml")
	listsNew(t, true)
}

// listsNew waits until the GatewayClass lists all or none of newFeatures.
func listsNew(t *testing.T, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("features of new fields are listed: %t", want), func() error {
		out, err := kubectl("get", "gatewayclass", "eg", "-o", "jsonpath={.status.supportedFeatures[*].name}")
		for _, name := range newFeatures {
			if err == nil && slices.Contains(strings.Fields(out), name) != want {
				err = fmt.Errorf("%s: %t; the list is %s", name, !want, out)
			}
		}
		return err
	})
}

// staysWith: requests with the session that an answer began go to the server that gave it.
func staysWith(t *testing.T, at, header string, first answer) {
	t.Helper()
	session := first.header.Get(header)
	if session == "" {
		t.Fatalf("the answer has no header %s: %v", header, first.header)
	}
	for range 20 { // Of two servers, the wrong one is not missed but once in a million.
		if a := asked(t, at, "GET older.example.com/", header, session); a.asked.Pod != first.asked.Pod {
			t.Fatalf("a session of %s went to %s", first.asked.Pod, a.asked.Pod)
		}
	}
}

// calm: nobody writes the objects any more.
func calm(t *testing.T, s scene, objects ...string) {
	t.Helper()
	versions := append([]string{"get", "-o", "jsonpath={.items[*].metadata.resourceVersion}"}, objects...)
	before := s.kubectl(t, versions...)
	time.Sleep(4 * time.Second)
	if after := s.kubectl(t, versions...); after != before {
		t.Errorf("%v had the versions %s, and have %s 4 s later", objects, before, after)
	}
}

// haveDefinitions gives the cluster the CRDs of a file, and no others of Gateway API.
func haveDefinitions(t *testing.T, file string) {
	t.Helper()
	var out string
	eventually(t, file+" is taken", func() (err error) {
		// It keeps people from replacing the standard channel by the experimental one. Each try puts it back.
		if out, err = kubectl("delete", "--ignore-not-found", "validatingadmissionpolicybinding",
			"safe-upgrades.gateway.networking.k8s.io"); err == nil {
			out, err = kubectl("apply", "--server-side", "--force-conflicts", "-f", filepath.Join(bin, file))
		}
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	all, err := kubectl("get", "crd", "-o", "name")
	must(t, all, err)
	for _, crd := range strings.Fields(all) {
		_, name, _ := strings.Cut(crd, "/")
		if strings.Contains(name, ".gateway.networking.") && !strings.Contains(out, "/"+name+" ") {
			deleted, err := kubectl("delete", crd)
			must(t, deleted, err)
		}
	}
}
