package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// scopedRoutes is a Gateway with scoped routes, two hosts on it, and a policy that lets nobody in to one path of the
// second.
const scopedRoutes = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, annotations: {gatehouse.dev/scoped-routes: "true"}}
spec:
  gatewayClassName: eg
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: secure-one, protocol: HTTPS, port: 443, hostname: one.example.com, tls: {certificateRefs: [{name: pair}]}}
  - {name: secure-all, protocol: HTTPS, port: 443, hostname: "*.example.com", tls: {certificateRefs: [{name: pair}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: one}
spec:
  parentRefs: [{name: gw, sectionName: http}, {name: gw, sectionName: secure-one}]
  hostnames: [one.example.com]
  rules: [{backendRefs: [{name: a, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: two}
spec:
  parentRefs: [{name: gw, sectionName: http}, {name: gw, sectionName: secure-all}]
  hostnames: [two.example.com]
  rules:
  - {backendRefs: [{name: a, port: 80}]}
  - {name: shut, matches: [{path: {value: /shut}}], backendRefs: [{name: a, port: 80}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: nobody}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: two, sectionName: shut}]
  authorization: {defaultAction: Deny}
`

// scopedWildcard is a route with a host that can be no scope.
const scopedWildcard = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wild}
spec:
  parentRefs: [{name: gw, sectionName: http}]
  hostnames: [%s]
  rules: [{backendRefs: [{name: a, port: 80}]}]
`

// TestScopedRoutes: on a Gateway with scoped routes hosts answer, policies hold, hosts come and go, and a wildcard is
// warned of.
func TestScopedRoutes(t *testing.T) {
	t.Parallel()
	s := newScene(t, "scoped")
	pair, key := newPair(t, 1)
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), strings.Replace(secret("pair", pair, key), ", namespace: default", "", 1),
		scopedRoutes)
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET two.example.com/", http.StatusOK)
	if a := settles(t, at, "GET one.example.com/", http.StatusOK); len(a.asked.Headers["X-Gatehouse-Listener"]) > 0 {
		t.Errorf("the backend is told the listener: %v", a.asked.Headers)
	}
	// What a client says of the header is nothing to Envoy.
	for _, listener := range []string{"http", "secure-one", "secure-all"} {
		settles(t, at, "GET two.example.com/shut", http.StatusForbidden, "X-Gatehouse-Listener", s.namespace+"/gw/"+listener)
	}
	for host, want := range map[string]int{
		"one.example.com/": 200, "two.example.com/": 200, "two.example.com/shut": 403,
		"three.example.com/": 404,
	} {
		securely(t, at, host, want)
	}
	settles(t, at, "GET three.example.com/", http.StatusNotFound)
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")
	s.becomes(t, "gateway/gw", "{.status.listeners[*].attachedRoutes}", "2 1 1")

	stop := load(at, "one.example.com")
	wildcardIsTold(t, s)
	settles(t, at, "GET three.example.com/", http.StatusOK)
	s.kubectl(t, "delete", "httproute", "wild")
	settles(t, at, "GET three.example.com/", http.StatusNotFound)
	noneFailed(t, stop)

	t.Run("the annotation stays", func(t *testing.T) {
		out, err := kubectl("annotate", "gateway", "gw", "-n", s.namespace, "gatehouse.dev/scoped-routes-")
		if err == nil || !strings.Contains(out, "metadata.annotations[gatehouse.dev/scoped-routes]") ||
			!strings.Contains(out, "true cannot become false") {
			t.Errorf("the annotation can be taken away: %v: %s", err, out)
		}
	})
}

// securely waits until a request over TLS, of "host/path", is answered with a status.
func securely(t *testing.T, at, target string, code int) {
	t.Helper()
	host, path, _ := strings.Cut(target, "/")
	client := &http.Client{
		Timeout:   direct.Timeout,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true}},
	}
	defer client.CloseIdleConnections()
	eventually(t, fmt.Sprintf("https://%s is answered %d", target, code), func() error {
		request, err := http.NewRequest(http.MethodGet, "https://"+at+"/"+path, nil)
		if err != nil {
			return err
		}
		request.Host = host
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != code {
			return fmt.Errorf("answered %d", response.StatusCode)
		}
		return nil
	})
}

// wildcardIsTold: kubectl warns of it; alone it is not attached, and beside an exact host the route says that it is not
// served.
func wildcardIsTold(t *testing.T, s scene) {
	t.Helper()
	for _, c := range []struct{ hosts, kind string }{
		{`"*.example.org"`, "Accepted"},
		{`"*.example.org", three.example.com`, "HostnamesServed"},
	} {
		out, err := s.tryApply(fmt.Sprintf(scopedWildcard, c.hosts))
		if must(t, out, err); c.kind == "Accepted" && !strings.Contains(out,
			`Warning: spec.hostnames: "*.example.org" cannot be served`) {
			t.Errorf("kubectl does not warn of %s: %s", c.hosts, out)
		}
		s.becomes(t, "httproute/wild", condition(".status.parents[0]", c.kind)+reason(".status.parents[0]", c.kind),
			"FalseUnsupportedValue")
	}
	s.becomes(t, "httproute/wild", condition(".status.parents[0]", "Accepted"), "True")
}
