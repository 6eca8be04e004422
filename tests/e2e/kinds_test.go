package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lives tells which control planes run, and how often each was started again, once none is leaving any more.
func lives(t *testing.T) (now string) {
	t.Helper()
	eventually(t, "no control plane is leaving", func() (err error) {
		now, err = kubectl("get", "pods", "-n", "gatehouse-system", "-l", controlPlane, "-o",
			"jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount} {.metadata.deletionTimestamp};{end}")
		if err == nil && strings.Count(now, " ;") != strings.Count(now, ";") {
			err = fmt.Errorf("one is: %s", now)
		}
		return err
	})
	return now
}

// TestServiceImportsComeLate: a route may refer to a ServiceImport before the cluster knows what that is. It is told
// so, and answers 500; once the CRD and the object are there it is served by the endpoints of all clusters, by the same
// control plane, and it is told so again when the CRD is gone.
func TestServiceImportsComeLate(t *testing.T) {
	t.Parallel()
	const crd = "testdata/serviceimport-crd.yaml"
	before := lives(t)
	s := newScene(t, "import")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(echoServer, "b", 1), plainGateway,
		route("neighbour", "neighbour.example.com"))
	const wide = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wide}
spec:
  parentRefs: [{name: gw}]
  hostnames: [wide.example.com]
  rules: [{backendRefs: [{group: multicluster.x-k8s.io, kind: ServiceImport, name: shop, port: 80}]}]
`
	out, err := s.tryApply(wide)
	if must(t, out, err); !strings.Contains(out,
		`Warning: spec.rules[0].backendRefs[0].name: no ServiceImport "shop" in namespace`) {
		t.Errorf("it is not warned of: %s", out)
	}
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET wide.example.com/", http.StatusInternalServerError)
	settles(t, at, "GET neighbour.example.com/", http.StatusOK)
	s.becomes(t, "httproute/wide", reason(".status.parents[0]", "ResolvedRefs"), "BackendNotFound")

	t.Cleanup(func() { _, _ = kubectl("delete", "--ignore-not-found", "-f", crd) }) // The cluster goes anyway.
	out, err = kubectl("apply", "-f", crd)
	must(t, out, err)
	out, err = kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", crd)
	must(t, out, err)
	label := "multicluster.kubernetes.io/service-name: shop, multicluster.kubernetes.io/source-cluster: "
	s.apply(t, `
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: {name: shop}
spec: {type: ClusterSetIP, ports: [{name: web, protocol: TCP, port: 80}]}
`, fmt.Sprintf(writtenSlice, "east", label+"east", "web", 3000, s.podIP(t, "a")))
	if a := settles(t, at, "GET wide.example.com/", http.StatusOK); a.app() != "a" {
		t.Errorf("answered by %q", a.asked.Pod)
	}
	s.becomes(t, "httproute/wide", condition(".status.parents[0]", "ResolvedRefs"), "True")
	s.apply(t, strings.Replace(wide, "wide.example.com", "wider.example.com", 1)) // Nothing is warned of any more.
	s.kubectl(t, "rollout", "status", "deployment/b", "--timeout=60s")
	s.apply(t, fmt.Sprintf(writtenSlice, "west", label+"west", "web", 3000, s.podIP(t, "b")))
	eventually(t, "both clusters get requests", func() error {
		a, err := ask(at, "GET wider.example.com/")
		if err != nil || a.code != http.StatusOK {
			return fmt.Errorf("answered %d, %w", a.code, err)
		}
		if got := shares(t, at, "GET wider.example.com/", 20); len(got) != 2 || got["a"]+got["b"] != 20 {
			return fmt.Errorf("they went to %v", got)
		}
		return nil
	})

	out, err = kubectl("delete", "-f", crd)
	must(t, out, err)
	settles(t, at, "GET wider.example.com/", http.StatusInternalServerError)
	s.becomes(t, "httproute/wide", reason(".status.parents[0]", "ResolvedRefs"), "BackendNotFound")
	settles(t, at, "GET neighbour.example.com/", http.StatusOK)
	if after := lives(t); after != before {
		t.Errorf("control planes and their restarts before: %s, after: %s", before, after)
	}
}

// definition is a CRD of Gateway API as users install it.
func definition(t *testing.T, name string) string {
	t.Helper()
	all, err := os.ReadFile(filepath.Join(bin, "gateway-api-crds.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(all), "\n---\n") {
		if strings.Contains(document, "kind: CustomResourceDefinition") &&
			strings.Contains(document, "\n  name: "+name+"\n") {
			return document
		}
	}
	t.Fatalf("bin/gateway-api-crds.yaml has no CRD %s", name)
	return ""
}

// define installs CRDs of Gateway API.
func define(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		out, err := apply(definition(t, name), "--server-side")
		must(t, out, err)
	}
	out, err := kubectl(append([]string{"wait", "--for=condition=Established", "--timeout=30s", "crd"}, names...)...)
	must(t, out, err)
}

// TestKindsAbsentAtStart: a control plane starts in a cluster that lacks kinds, serves all others and keeps calm about
// it. Objects of a kind whose CRD comes later are served from then on, without a restart.
func TestKindsAbsentAtStart(t *testing.T) {
	late := []string{"tcproutes.gateway.networking.k8s.io", "listenersets.gateway.networking.k8s.io"}
	quickstart := address(t, "default", "eg")
	answers(t, quickstart, "www.example.com", "/", http.StatusOK)
	end := loads(t, quickstart, "www.example.com")
	t.Cleanup(func() { define(t, late...) })
	out, err := kubectl(append([]string{"delete", "crd"}, late...)...)
	must(t, out, err)
	out, err = kubectl("rollout", "restart", "-n", "gatehouse-system", "deployment/gatehouse")
	must(t, out, err)
	out, err = kubectl("rollout", "status", "-n", "gatehouse-system", "deployment/gatehouse", "--timeout=60s")
	must(t, out, err)
	before := lives(t)

	s := newScene(t, "absent")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: tcp, protocol: TCP, port: 9000}
`, route("r", "absent.example.com"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET absent.example.com/", http.StatusOK)
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")
	keepsCalm(t)
	logs, err := kubectl("logs", "-n", "gatehouse-system", "deployment/gatehouse")
	must(t, logs, err)
	for _, name := range late {
		if n := strings.Count(logs, name); n != 1 {
			t.Errorf("the control plane speaks %d times of %s:\n%s", n, name, logs)
		}
	}

	// What is connected stays connected.
	fresh := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	// They come, go with their objects, and come again.
	for range 2 {
		define(t, late...)
		s.apply(t, lateObjects)
		settles(t, at+":9000", "GET any.example.com/", http.StatusOK)
		settles(t, at+":8080", "GET any.example.com/", http.StatusOK)
		s.becomes(t, "tcproute/stream", condition(".status.parents[0]", "Accepted"), "True")
		s.becomes(t, "listenerset/more", condition(".status", "Programmed"), "True")
		s.becomes(t, "gateway/gw", "{.status.attachedListenerSets}", "1")

		out, err = kubectl(append([]string{"delete", "crd"}, late...)...)
		must(t, out, err)
		s.becomes(t, "gateway/gw", "{.status.attachedListenerSets}", "")
		s.becomes(t, "gateway/gw", `{.status.listeners[?(@.name=="tcp")].attachedRoutes}`, "0")
		for _, port := range []string{":9000", ":8080"} {
			eventually(t, "port "+port+" is not served any more", func() error {
				if code, _, err := get(fresh, at+port, "any.example.com", "/"); err == nil {
					return fmt.Errorf("answered %d", code)
				}
				return nil
			})
		}
	}
	keepsCalm(t)
	settles(t, at, "GET absent.example.com/", http.StatusOK)
	end()
	if after := lives(t); after != before {
		t.Errorf("control planes and their restarts before: %s, after: %s", before, after)
	}
}

// lateObjects are of kinds that come late.
const lateObjects = `
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {name: gw}
  listeners: [{name: more, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: stream}
spec:
  parentRefs: [{name: gw, sectionName: tcp}]
  rules: [{backendRefs: [{name: a, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: more}
spec:
  parentRefs: [{group: gateway.networking.k8s.io, kind: ListenerSet, name: more}]
  rules: [{backendRefs: [{name: a, port: 80}]}]
`

// keepsCalm fails the test if the control plane tries something again and again that does not succeed.
func keepsCalm(t *testing.T) {
	t.Helper()
	time.Sleep(2 * time.Second) // It may be surprised once.
	since := time.Now().UTC().Format(time.RFC3339)
	time.Sleep(5 * time.Second) // Whatever it tries again has been tried several times.
	logs, err := kubectl("logs", "-n", "gatehouse-system", "deployment/gatehouse", "--since-time="+since)
	must(t, logs, err)
	for line := range strings.Lines(logs) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.HasPrefix(line, "E") || strings.HasPrefix(line, "W") {
			t.Errorf("the control plane complains: %s", line)
		}
	}
}
