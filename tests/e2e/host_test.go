package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// marked is an HTTPRoute of which each answer says that it came from it.
func marked(name, parent, rest string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [%s]
  %s
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Route, value: %[1]s}]}}]
    backendRefs: [{name: a, port: 80}]
`, name, parent, rest)
}

// takenBy fails unless the request is answered by way of the route; the empty route stands for no route at all.
func takenBy(t *testing.T, at, request, route string) {
	t.Helper()
	a := asked(t, at, request)
	if got := a.header.Get("X-Route"); got != route || (a.code == http.StatusOK) != (route != "") {
		t.Errorf("%s was answered %d by route %q, want %q", request, a.code, got, route)
	}
}

// fallsTo waits until the request is answered by way of the route.
func fallsTo(t *testing.T, at, request, route string) {
	t.Helper()
	eventually(t, request+" falls to route "+route, func() error {
		a, err := ask(at, request)
		if got := a.header.Get("X-Route"); err != nil || got != route {
			return fmt.Errorf("answered by %q, %w", got, err)
		}
		return nil
	})
}

// TestHostsOfListeners: of listeners on one port the most specific hostname takes a request, and only its routes
// answer: what they leave over is 404, not another listener's. A route serves where its own hostnames meet those of its
// listeners.
func TestHostsOfListeners(t *testing.T) {
	t.Parallel()
	s := newScene(t, "hosts")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  listeners:
  - {name: any, protocol: HTTP, port: 80}
  - {name: wildcard, protocol: HTTP, port: 80, hostname: "*.example.com"}
  - {name: deeper, protocol: HTTP, port: 80, hostname: "*.deep.example.com"}
  - {name: exact, protocol: HTTP, port: 80, hostname: api.example.com}
`,
		marked("any", "{name: gw, sectionName: any}", "rules:\n  - matches: [{path: {value: /}}]"),
		marked("wildcard", "{name: gw, sectionName: wildcard}", "rules:\n  - matches: [{path: {value: /}}]"),
		marked("deeper", "{name: gw, sectionName: deeper}", "rules:\n  - matches: [{path: {value: /}}]"),
		marked("exact", "{name: gw, sectionName: exact}", "rules:\n  - matches: [{path: {value: /only}}]"),
		marked("everywhere", "{name: gw}",
			"hostnames: [shop.example.com, shop.example.org]\n  rules:\n  - matches: [{path: {value: /}}]"),
	)
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET api.example.com/only", http.StatusOK)
	settles(t, at, "GET shop.example.org/", http.StatusOK)
	settles(t, at, "GET www.deep.example.com/", http.StatusOK)
	for request, route := range map[string]string{
		"GET api.example.com/only":        "exact",
		"GET api.example.com/other":       "",
		"GET API.example.COM/only":        "exact",
		"GET www.example.com/only":        "wildcard",
		"GET a.b.example.com/":            "wildcard",
		"GET www.deep.example.com/":       "deeper",
		"GET deep.example.com/":           "wildcard",
		"GET example.com/":                "any",
		"GET www.example.org/":            "any",
		"GET notexample.com/":             "any",
		"GET shop.example.com/":           "everywhere",
		"GET shop.example.org/":           "everywhere",
		"GET shop.example.org:80/":        "everywhere",
		"GET shop.deep.example.com/":      "deeper",
		"GET shop.example.com.evil.test/": "any",
	} {
		takenBy(t, at, request, route)
	}
	for i, want := range []string{"2", "2", "1", "1"} { // everywhere has a host for the first two only.
		s.becomes(t, "gateway/gw", fmt.Sprintf("{.status.listeners[%d].attachedRoutes}", i), want)
	}
}

// TestRoutesOfOneHost: routes that share a hostname are one set of rules: the more specific match comes first, whoever
// wrote it; of equal ones the older route's, and when that goes, the younger's. Losing in this way is not an error; kubectl warns of
// it, and both routes say so.
func TestRoutesOfOneHost(t *testing.T) {
	t.Parallel()
	s := newScene(t, "merge")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway)
	const host = "hostnames: [merge.example.com]\n  rules:\n"
	older := marked("z-older", "{name: gw}",
		host+"  - matches: [{path: {value: /}}, {path: {value: /team}}, {path: {value: /old}}]")
	s.apply(t, older)
	time.Sleep(1100 * time.Millisecond) // Ages are counted in seconds.
	younger, err := s.tryApply(marked("a-younger", "{name: gw}",
		host+"  - matches: [{path: {value: /}}, {path: {value: /team/own}}, {path: {value: /team}, method: GET}, {path: {value: /old}}]"))
	if must(t, younger, err); !strings.Contains(younger,
		`Warning: spec.rules[0].matches[0]: HTTPRoute "z-older" comes first`) ||
		!strings.Contains(younger, "spec.rules[0].matches[3]") || strings.Contains(younger, "spec.rules[0].matches[1]") {
		t.Errorf("it is not warned of what the older route answers: %s", younger)
	}
	s.apply(t,
		marked("b-exact", "{name: gw}", host+"  - matches: [{path: {type: Exact, value: /team/own}}]"),
	)
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET merge.example.com/team/own", http.StatusOK)
	fallsTo(t, at, "GET merge.example.com/team/own", "b-exact")
	fallsTo(t, at, "GET merge.example.com/team/own/x", "a-younger")
	for request, route := range map[string]string{
		"GET merge.example.com/":       "z-older",
		"GET merge.example.com/old":    "z-older",
		"GET merge.example.com/team":   "a-younger", // A match of a method too is the more specific one.
		"POST merge.example.com/team":  "z-older",
		"POST merge.example.com/teams": "z-older",
	} {
		takenBy(t, at, request, route)
	}
	for _, name := range []string{"z-older", "a-younger", "b-exact"} {
		s.becomes(t, "httproute/"+name, condition(".status.parents[0]", "Accepted"), "True")
	}
	for name, overlaps := range map[string]string{"z-older": "True", "a-younger": "True", "b-exact": ""} {
		s.becomes(t, "httproute/"+name, condition(".status.parents[0]", "RouteRulesOverlap"), overlaps)
	}
	s.becomes(t, "gateway/gw", "{.status.listeners[0].attachedRoutes}", "3")

	stop := load(at, "merge.example.com")
	s.kubectl(t, "delete", "httproute", "z-older")
	fallsTo(t, at, "GET merge.example.com/old", "a-younger")
	again, err := s.tryApply(older) // It is the youngest by now.
	must(t, again, err)
	settles(t, at, "POST merge.example.com/team", http.StatusOK)
	takenBy(t, at, "GET merge.example.com/", "a-younger")
	noneFailed(t, stop)
}
