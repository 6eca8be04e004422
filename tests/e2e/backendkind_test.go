package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// listing is a Backend with endpoints.
func listing(name, spec string) string {
	return fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: %s}
spec: %s
`, name, spec)
}

// toListing is a route for the name of a Backend under example.com, with other backends before it.
func toListing(name, before string) string {
	ref := fmt.Sprintf("%s{group: gateway.envoyproxy.io, kind: Backend, name: %s}", before, name)
	return strings.Replace(route(name, name+".example.com"), "{name: a, port: 80}", ref, 1)
}

// TestBackends: a Backend is none until the operator switches the kind on, and it and its routes are told so. Then
// requests reach its endpoints, be they listed by address or by name, and a fallback takes over from a Service while
// that has no endpoint. What would lead to Envoy's own host is refused.
func TestBackends(t *testing.T) {
	s := newScene(t, "backends")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(echoServer, "b", 2), plainGateway)
	s.apply(t, route("neighbour", "neighbour.example.com"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET neighbour.example.com/", http.StatusOK)
	s.kubectl(t, "rollout", "status", "deployment/b", "--timeout=60s")
	var endpoints []string
	ips := s.kubectl(t, "get", "pods", "-l", "app=b", "-o", "jsonpath={.items[*].status.podIP}")
	for ip := range strings.FieldsSeq(ips) {
		endpoints = append(endpoints, fmt.Sprintf("{ip: {address: %q, port: 3000}}", ip))
	}
	pods := "endpoints: [" + strings.Join(endpoints, ", ") + "]"
	addresses := listing("addresses", "{"+pods+"}")
	out, err := s.tryApply(addresses + "---" + toListing("addresses", ""))
	must(t, out, err)
	for _, words := range []string{
		"spec: kind Backend is switched off", "backendRefs[0].kind: kind Backend is switched off",
		"extensionApis.enableBackend",
	} {
		if !strings.Contains(out, words) {
			t.Errorf("%s\nlacks %q", out, words)
		}
	}
	settles(t, at, "GET addresses.example.com/", http.StatusInternalServerError)
	s.becomes(t, "backend/addresses", reason(".status", "Accepted"), "Disabled")
	s.becomes(t, "httproute/addresses", reason(".status.parents[0]", "ResolvedRefs"), "UnsupportedValue")

	t.Cleanup(func() { reconfigure(t, "extensionApis.enableBackend=false") })
	end := loads(t, at, "neighbour.example.com")
	reconfigure(t, "extensionApis.enableBackend=true")
	s.becomes(t, "backend/addresses", condition(".status", "Accepted"), "True")
	s.becomes(t, "httproute/addresses", condition(".status.parents[0]", "ResolvedRefs"), "True")
	reached := map[string]bool{}
	eventually(t, "each address gets requests", func() error {
		if a, err := ask(at, "GET addresses.example.com/"); err != nil {
			return err
		} else if a.app() == "b" {
			reached[a.asked.Pod] = true
		}
		if len(reached) != 2 {
			return fmt.Errorf("%v do", reached)
		}
		return nil
	})
	named := "{endpoints: [{fqdn: {hostname: a." + s.namespace + ".svc.cluster.local, port: 80}}]}"
	s.apply(t, listing("names", named), toListing("names", ""))
	goesTo(t, at, "names.example.com", "a")
	if a := asked(t, at, "GET names.example.com/path"); a.asked.Host != "names.example.com" || a.asked.Path != "/path" {
		t.Errorf("it arrived for %q %q", a.asked.Host, a.asked.Path)
	}
	end()

	t.Run("refused", func(t *testing.T) { refusedBackends(t, s) })
	t.Run("resolver", func(t *testing.T) {
		host := "a." + s.namespace + ".svc.cluster.local"
		s.apply(t, listing("any", "{type: DynamicResolver}"), strings.Replace(toListing("any", ""), "any.example.com", host+", localhost", 1))
		goesTo(t, at, host, "a")
		settles(t, at, "GET localhost:19000/", http.StatusServiceUnavailable)
	})
	t.Run("fallback", func(t *testing.T) {
		s.apply(t, listing("spare", "{fallback: true, "+pods+"}"), toListing("spare", "{name: a, port: 80}, "))
		goesTo(t, at, "spare.example.com", "a")
		s.kubectl(t, "scale", "deployment/a", "--replicas=0")
		goesTo(t, at, "spare.example.com", "b")
		s.kubectl(t, "scale", "deployment/a", "--replicas=1")
		goesTo(t, at, "spare.example.com", "a")
	})
}

// refusedBackends: what cannot be served as it is written is not stored, and kubectl says why.
func refusedBackends(t *testing.T, s scene) {
	for spec, words := range map[string]string{
		"endpoints: [{ip: {address: 127.0.0.1, port: 19000}}]":                             `"127.0.0.1" leads to Envoy's own host`,
		"endpoints: [{ip: {address: 169.254.169.254, port: 80}}]":                          `"169.254.169.254" is on the link of Envoy`,
		"endpoints: [{fqdn: {hostname: localhost, port: 80}}]":                             `"localhost" is Envoy's own host`,
		"endpoints: [{fqdn: {hostname: a.example.com, port: 19000}}]":                      `19000 is a port of Envoy's own pods`,
		"endpoints: [{ip: {address: 10.0.0.1, port: 1}}], tls: {sni: 10.0.0.1}":            `"10.0.0.1" is not a DNS name`,
		"endpoints: [{unix: {path: /run/app.sock}}]":                                       `socket "/run/app.sock" is in the pods of Envoy`,
		"endpoints: [{fqdn: {hostname: a.b, port: 1}}, {ip: {address: 1.1.1.1, port: 1}}]": `do not go together`,
	} {
		out, err := s.tryApply(listing("refused", "{"+spec+"}"))
		if err == nil {
			err = errors.New("it was stored")
		}
		if !strings.Contains(out, words) {
			t.Errorf("%s: %v: %s\nlacks %q", spec, err, out, words)
		}
	}
}
