package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestRoutes: an HTTPRoute does with a request what Gateway API says: which rule takes it, what is changed on the way,
// who gets it.
func TestRoutes(t *testing.T) {
	t.Parallel()
	s := newScene(t, "routes")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(echoServer, "b", 1), plainGateway)
	s.applyFile(t, "routes.yaml")
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET match.example.com/", http.StatusOK)
	settles(t, at, "GET filter.example.com/", http.StatusOK)
	settles(t, at, "GET weight.example.com/", http.StatusOK)

	t.Run("matches", func(t *testing.T) { routeMatches(t, at) })
	t.Run("filters", func(t *testing.T) { routeFilters(t, at) })
	t.Run("redirects", func(t *testing.T) { routeRedirects(t, at) })
	t.Run("weights", func(t *testing.T) {
		got := map[string]int{}
		for range 200 {
			got[asked(t, at, "GET weight.example.com/").app()]++
		}
		// Each request is a draw of its own: with 3 to 1, fewer than 110 or more than 190 of 200 happen less than once
		// in a billion runs.
		if got["a"] < 110 || got["a"] > 190 || got["a"]+got["b"] != 200 {
			t.Errorf("of 200 requests weighted 3 to 1, went to %v", got)
		}
		if a := asked(t, at, "GET weight.example.com/never"); a.app() != "b" {
			t.Errorf("a backend of weight 0 got a request: %s", a.asked.Pod)
		}
	})
	t.Run("timeouts", func(t *testing.T) {
		if a := asked(t, at, "GET timeout.example.com/?delay=2s"); a.code != http.StatusGatewayTimeout {
			t.Errorf("a request that takes longer than its timeout was answered %d", a.code)
		}
		if a := asked(t, at, "GET timeout.example.com/"); a.code != http.StatusOK {
			t.Errorf("a request within its timeout was answered %d", a.code)
		}
	})
	t.Run("status", func(t *testing.T) {
		for _, route := range []string{"match", "filter", "weight", "timeout"} {
			s.becomes(t, "httproute/"+route, condition(".status.parents[0]", "Accepted")+condition(".status.parents[0]",
				"ResolvedRefs"), "TrueTrue")
			s.becomes(t, "httproute/"+route, `{.status.parents[0].conditions[?(@.type=="Accepted")].observedGeneration}`, "1")
		}
		s.becomes(t, "gateway/gw", "{.status.listeners[0].attachedRoutes}", "4")
	})
}

// routeMatches: the most specific match takes a request, whatever the order of the rules; each rule marks what it took.
func routeMatches(t *testing.T, at string) {
	for _, c := range []struct {
		request string
		headers []string
		want    string
	}{
		{request: "GET match.example.com/", want: "any"},
		{request: "GET match.example.com/other", want: "any"},
		{request: "GET match.example.com/pre", want: "prefix"},
		{request: "GET match.example.com/pre/fix", want: "prefix"},
		{request: "GET match.example.com/prefix", want: "any"}, // A prefix ends at a slash.
		{request: "GET match.example.com/exact", want: "exact"},
		{request: "GET match.example.com/exact/more", want: "any"},
		{request: "GET match.example.com/v12", want: "regex"},
		{request: "GET match.example.com/v12/x", want: "any"}, // An expression matches the whole path.
		{request: "POST match.example.com/", want: "method"},
		{request: "GET match.example.com/", headers: []string{"X-Version", "two"}, want: "header"},
		{request: "GET match.example.com/", headers: []string{"X-Version", "twofold"}, want: "any"},
		{request: "GET match.example.com/?animal=whale", want: "query"},
		{request: "GET match.example.com/?animal=dolphin", want: "any"},
	} {
		if a := asked(t, at, c.request, c.headers...); a.header.Get("X-Rule") != c.want {
			t.Errorf("%s %v was taken by rule %q, want %q (status %d)", c.request, c.headers, a.header.Get("X-Rule"), c.want,
				a.code)
		}
	}
}

// routeFilters: headers are set, added and removed in both directions, and paths and hosts are rewritten.
func routeFilters(t *testing.T, at string) {
	a := asked(t, at, "GET filter.example.com/headers", "X-Set", "client", "X-Add", "client", "X-Remove", "client",
		"X-Echo-Set-Header", "X-Secret:backend,X-Server:backend")
	for name, want := range map[string]string{"X-Set": "gateway", "X-Add": "client,gateway", "X-Remove": ""} {
		if got := strings.Join(a.asked.Headers[name], ","); got != want {
			t.Errorf("request header %s arrived as %q, want %q", name, got, want)
		}
	}
	if got := a.header.Get("X-Secret"); got != "" {
		t.Errorf("response header X-Secret came through: %q", got)
	}
	if got := a.header.Get("X-Server"); got != "gateway" {
		t.Errorf("response header X-Server is %q", got)
	}
	for request, want := range map[string]string{
		"GET filter.example.com/old/thing?q=1": "/new/thing?q=1",
		"GET filter.example.com/old":           "/new",
		"GET filter.example.com/strip/thing":   "/thing",
		"GET filter.example.com/full/thing":    "/one",
	} {
		if a := asked(t, at, request); a.asked.Path != want || a.code != http.StatusOK {
			t.Errorf("%s arrived as %q, want %q (status %d)", request, a.asked.Path, want, a.code)
		}
	}
	if a := asked(t, at, "GET filter.example.com/host"); a.asked.Host != "internal.example.com" {
		t.Errorf("the host arrived as %q", a.asked.Host)
	}
}

// routeRedirects: a redirect changes what it names and keeps the rest. A port that the scheme implies is not named,
// even where the client did.
func routeRedirects(t *testing.T, at string) {
	for request, want := range map[string]string{
		"GET filter.example.com/to-https?q=1":       "301 https://filter.example.com/to-https?q=1",
		"GET filter.example.com/to-host":            "302 http://www.example.org/to-host",
		"GET filter.example.com/to-port":            "302 http://filter.example.com:8443/to-port",
		"GET filter.example.com/to-prefix/thing":    "302 http://filter.example.com/there/thing",
		"GET filter.example.com:80/to-prefix/thing": "302 http://filter.example.com/there/thing",
	} {
		a := asked(t, at, request)
		if got := fmt.Sprintf("%d %s", a.code, a.header.Get("Location")); got != want {
			t.Errorf("%s was answered %s, want %s", request, got, want)
		}
	}
}

// TestWhoMayAttach: a listener decides by labels of namespaces which routes it takes, and a label that is set later is
// enough.
func TestWhoMayAttach(t *testing.T) {
	t.Parallel()
	s, other := newScene(t, "host"), newScene(t, "guest")
	s.apply(t, strings.Replace(plainGateway, "port: 80}",
		"port: 80, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {guest: welcome}}}}}", 1))
	other.apply(t, fmt.Sprintf(echoServer, "a", 1))
	out, err := other.tryApply(fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guest}
spec:
  parentRefs: [{name: gw, namespace: %s}]
  hostnames: [guest.example.com]
  rules: [{backendRefs: [{name: a, port: 80}]}]
`, s.namespace))
	must(t, out, err)
	other.becomes(t, "httproute/guest", reason(".status.parents[0]", "Accepted"), "NotAllowedByListeners")
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET guest.example.com/", http.StatusNotFound)
	other.kubectl(t, "label", "namespace", other.namespace, "guest=welcome")
	settles(t, at, "GET guest.example.com/", http.StatusOK)
	other.becomes(t, "httproute/guest", condition(".status.parents[0]", "Accepted"), "True")
	other.kubectl(t, "label", "namespace", other.namespace, "guest-")
	settles(t, at, "GET guest.example.com/", http.StatusNotFound)
	other.becomes(t, "httproute/guest", condition(".status.parents[0]", "Accepted"), "False")
}

// TestGrants: a Service of another namespace is used only while a ReferenceGrant there allows it. When it is revoked,
// the route answers 500, and status says why.
func TestGrants(t *testing.T) {
	t.Parallel()
	s, owner := newScene(t, "user"), newScene(t, "owner")
	owner.apply(t, fmt.Sprintf(echoServer, "a", 1))
	s.apply(t, plainGateway)
	out, err := s.tryApply(fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: borrower}
spec:
  parentRefs: [{name: gw}]
  hostnames: [grant.example.com]
  rules: [{backendRefs: [{name: a, namespace: %s, port: 80}]}]
`, owner.namespace))
	must(t, out, err)
	if want := fmt.Sprintf("create a ReferenceGrant in namespace %q from HTTPRoute to Service",
		owner.namespace); !strings.Contains(out, want) {
		t.Errorf("%s\nlacks %q", out, want)
	}
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET grant.example.com/", http.StatusInternalServerError)
	s.becomes(t, "httproute/borrower", reason(".status.parents[0]", "ResolvedRefs"), "RefNotPermitted")
	owner.apply(t, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: lend}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: %s}]
  to: [{group: "", kind: Service, name: a}]
`, s.namespace))
	if a := settles(t, at, "GET grant.example.com/", http.StatusOK); a.asked.Namespace != owner.namespace {
		t.Errorf("answered from namespace %q", a.asked.Namespace)
	}
	s.becomes(t, "httproute/borrower", condition(".status.parents[0]", "ResolvedRefs"), "True")
	owner.kubectl(t, "delete", "referencegrant", "lend")
	settles(t, at, "GET grant.example.com/", http.StatusInternalServerError)
	s.becomes(t, "httproute/borrower", reason(".status.parents[0]", "ResolvedRefs"), "RefNotPermitted")
}

// TestEndpoints: traffic goes to ready pods, on the port that their Service names. Replacing the pods one by one loses
// no request, and a Service that has none answers 503 until it has one again.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	s := newScene(t, "endpoints")
	graceful := strings.Replace(fmt.Sprintf(echoServer, "a", 2), "      containers:\n      - name: echo\n",
		"      containers:\n      - name: echo\n        lifecycle: {preStop: {sleep: {seconds: 2}}}\n", 1)
	s.apply(t, graceful, plainGateway, `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a}
spec:
  parentRefs: [{name: gw}]
  hostnames: [pods.example.com]
  rules: [{backendRefs: [{name: a, port: 80}]}]
`)
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET pods.example.com/", http.StatusOK)
	s.kubectl(t, "rollout", "status", "deployment/a", "--timeout=60s")
	stop := load(at, "pods.example.com")
	s.kubectl(t, "rollout", "restart", "deployment/a")
	s.kubectl(t, "rollout", "status", "deployment/a", "--timeout=60s")
	noneFailed(t, stop)
	s.kubectl(t, "scale", "deployment/a", "--replicas=0")
	settles(t, at, "GET pods.example.com/", http.StatusServiceUnavailable)
	s.kubectl(t, "scale", "deployment/a", "--replicas=1")
	settles(t, at, "GET pods.example.com/", http.StatusOK)
}
