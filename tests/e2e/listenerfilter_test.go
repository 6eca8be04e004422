package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// askedFirst is a filter of a listener that asks the authorization server.
const askedFirst = `filters: {requests: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: %s, port: 80}, http: {}}}]}`

// filteredGateway has two listeners on port 80. Requests of the first pass filters.
const filteredGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: guarded, protocol: HTTP, port: 80, hostname: "*.guarded.example.com", %s}
  - {name: open, protocol: HTTP, port: 80}
`

// byUser has rules that are chosen by what the authorization server says of a request. Answers say which one it was.
const byUser = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: by-user}
spec:
  parentRefs: [{name: gw, sectionName: guarded}, {kind: ListenerSet, name: team}]
  hostnames: [a.guarded.example.com, team.example.com]
  rules:
  - matches: [{headers: [{name: X-User, value: joe}]}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Route, value: joe}]}}]
    backendRefs: [{name: a, port: 80}]
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Route, value: else}]}}]
    backendRefs: [{name: a, port: 80}]
`

// TestListenerFilters: of three listeners of one port two ask an authorization server, one of them of a ListenerSet.
// What it says decides on the route. If it cannot be asked, these two answer 500. No request of the third fails, nor is
// its connection cut, when filters come and break.
func TestListenerFilters(t *testing.T) {
	t.Parallel()
	s := newScene(t, "filters")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), inPod(t, "auth", authorizer, "1", authPorts), authService,
		fmt.Sprintf(filteredGateway, ""), listenerSet("team",
			"{name: http, protocol: HTTP, port: 80, hostname: team.example.com}"), byUser, route("open", "open.example.com"))
	s.kubectl(t, "rollout", "status", "deployment/auth", "--timeout=60s")
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET open.example.com/", http.StatusOK)
	guarded := []string{"a.guarded.example.com", "team.example.com"}
	for _, host := range guarded {
		settles(t, at, "GET "+host+"/", http.StatusOK)
	}
	end := loads(t, at, "open.example.com")
	defer end()

	filter := fmt.Sprintf(askedFirst, "auth")
	s.apply(t, fmt.Sprintf(filteredGateway, filter), listenerSet("team",
		"{name: http, protocol: HTTP, port: 80, hostname: team.example.com, "+filter+"}"))
	for _, host := range append(guarded, "b.guarded.example.com") {
		settles(t, at, "GET "+host+"/", http.StatusUnauthorized, "X-User", "joe")
	}
	for _, host := range guarded {
		a := settles(t, at, "GET "+host+"/", http.StatusOK, "Authorization", asJoe)
		if route := a.header.Get("X-Route"); route != "joe" || a.asked.Headers.Get("X-User") != "joe" {
			t.Errorf("%s was answered by way of route %q", host, route)
		}
	}
	settles(t, at, "GET b.guarded.example.com/", http.StatusNotFound, "Authorization", asJoe)
	s.becomes(t, "gateway/gw", condition(".status.listeners[0]", "Programmed"), "True")

	s.kubectl(t, "delete", "service", "auth")
	for _, host := range append(guarded, "b.guarded.example.com") {
		settles(t, at, "GET "+host+"/", http.StatusInternalServerError, "Authorization", asJoe)
	}
	s.becomes(t, "gateway/gw", reason(".status.listeners[0]", "ResolvedRefs"), "InvalidListenerFilterRef")
	s.becomes(t, "listenerset/team", reason(".status.listeners[0]", "ResolvedRefs"), "InvalidListenerFilterRef")
	s.becomes(t, "gateway/gw", condition(".status.listeners[1]", "ResolvedRefs"), "True")
	s.apply(t, authService)
	settles(t, at, "GET a.guarded.example.com/", http.StatusOK, "Authorization", asJoe)

	broken := strings.Replace(filter, "http: {}", "http: {path: /../x}", 1)
	if out, err := s.tryApply(fmt.Sprintf(filteredGateway, broken)); err == nil ||
		!strings.Contains(out, "spec.listeners[0].filters.requests[0].externalAuth.http.path") {
		t.Errorf("a filter that can never work is admitted: %v %s", err, out)
	}
	s.apply(t, fmt.Sprintf(filteredGateway, ""))
	settles(t, at, "GET a.guarded.example.com/", http.StatusOK)
}
