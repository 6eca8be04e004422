package e2e

import (
	"fmt"
	"net/http"
	"os"
	"testing"
)

// TestBrokenNeighbours: of many objects that are wrong, each shuts what it is about and nothing else: neither the other
// routes of its Gateway nor what shares an endpoint, a port or a policy's kind with it. When they are put right, all of
// them serve.
func TestBrokenNeighbours(t *testing.T) {
	t.Parallel()
	s := newScene(t, "neighbours", "gatehouse.dev/admission=off")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway)
	manifest, err := os.ReadFile("testdata/neighbours.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.tryApply(string(manifest)) // The API server itself warns of host names in an EndpointSlice.
	must(t, out, err)
	at := address(t, s.namespace, "gw")
	healthy := func() {
		t.Helper()
		for range 3 {
			if a := asked(t, at, "GET healthy.example.com/"); a.code != http.StatusOK {
				t.Errorf("the healthy route was answered %d", a.code)
			}
		}
	}
	settles(t, at, "GET healthy.example.com/", http.StatusOK)
	for host, want := range map[string]int{
		// RE2 rejects the expression, so whatever it may mean fails; the other rule serves, see below.
		"expression": http.StatusInternalServerError,
		"kind":       http.StatusInternalServerError,
		"absent":     http.StatusInternalServerError,
		"port":       http.StatusInternalServerError,
		"names":      http.StatusInternalServerError, // Its EndpointSlice holds host names, to which nothing is sent.
		"cidr":       http.StatusInternalServerError,
		"backoff":    http.StatusInternalServerError,
		"prime":      http.StatusInternalServerError,
	} {
		settles(t, at, "GET "+host+".example.com/", want)
	}
	healthy()
	if a := asked(t, at, "GET expression.example.com/whole"); a.code != http.StatusOK {
		t.Errorf("the whole rule beside a broken one was answered %d", a.code)
	}
	for route, why := range map[string]string{
		"kind": "InvalidKind", "absent": "BackendNotFound", "port": "PortNotFound",
		"names": "UnsupportedAddressType",
	} {
		s.becomes(t, "httproute/"+route, reason(".status.parents[0]", "ResolvedRefs"), why)
	}
	s.becomes(t, "httproute/expression", condition(".status.parents[0]", "PartiallyInvalid"), "True")
	for _, policy := range []string{"securitypolicy/cidr", "backendtrafficpolicy/backoff", "backendtrafficpolicy/prime"} {
		s.becomes(t, policy, reason(".status.ancestors[0]", "Accepted"), "Invalid")
	}
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")

	s.kubectl(t, "delete", "securitypolicy/cidr", "backendtrafficpolicy/backoff", "backendtrafficpolicy/prime")
	for _, host := range []string{"cidr", "backoff", "prime"} {
		settles(t, at, "GET "+host+".example.com/", http.StatusOK)
	}
	s.kubectl(t, "patch", "httproute", "absent", "--type=merge", "-p",
		`{"spec":{"rules":[{"backendRefs":[{"name":"a","port":80}]}]}}`)
	settles(t, at, "GET absent.example.com/", http.StatusOK)
	healthy()
}
