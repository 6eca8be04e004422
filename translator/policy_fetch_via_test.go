package translator

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/backendtls"
)

// sources are backends that lists are fetched from.
const sources = `
apiVersion: v1
kind: Service
metadata: {namespace: auth, name: idp}
spec: {ports: [{name: web, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {namespace: auth, name: shop}
spec:
  from: [{group: gateway.envoyproxy.io, kind: SecurityPolicy, namespace: shop}]
  to: [{group: "", kind: Service}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: auth, name: idp-1, labels: {kubernetes.io/service-name: idp}}
addressType: IPv4
ports: [{name: web, port: 8080}]
endpoints: [{addresses: [10.0.0.2]}, {addresses: [10.0.0.1]}, {addresses: [10.0.0.3], conditions: {ready: false, serving: false}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {namespace: auth, name: idp}
spec:
  targetRefs: [{group: "", kind: Service, name: idp}]
  validation:
    hostname: idp.auth
    caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]
    subjectAltNames: [{type: Hostname, hostname: login.test}, {type: URI, uri: "spiffe://test/idp"}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {namespace: shop, name: outside}
spec: {endpoints: [{fqdn: {hostname: login.test, port: 443}}]}
`

// TestFetchThroughBackend: content is fetched from the endpoints of a backend that the policy may refer to, in the way
// in which the backend is to be spoken to. What changes of the backend makes it no other content. Without the backend,
// what needs the content is not served, and nothing is fetched.
func TestFetchThroughBackend(t *testing.T) {
	w := newFetchingWorld(t)
	objects := decode(t, []byte(strings.TrimSpace(sources)))
	service, grant, slice, secured := objects[0], objects[1], objects[2].(*discoveryv1.EndpointSlice), objects[3]
	policy := listed("p", "one")
	policy.Annotations["through"] = "Service/auth/idp"
	refused := func(what string) {
		t.Helper()
		if got := w.tables.fetches.All(w.engine.Read()); len(got) > 0 || forwards(t, w, "shop/web") {
			t.Errorf("%s: fetched is %v, or the route is served", what, got)
		}
	}
	change(t, w, service, false)
	change(t, w, policy, false)
	refused("without a grant")
	outcome := change(t, w, grant, false)
	keys := slices.Collect(maps.Keys(outcome.Fetches))
	if len(keys) != 1 {
		t.Fatalf("with a grant, fetched is %v", outcome.Fetches)
	}
	key := keys[0]
	want := &Via{Source: "SecurityPolicy shop: Service/auth/idp/80", Backends: []ViaBackend{{}}}
	wantVia(t, key, outcome, want)
	if key == fetching.Needs(policy)[1].Fetch.Key() {
		t.Error("what a backend has is the same content as what the host of the URL has")
	}
	report(t, w, &Fetched{Key: key, Content: []byte("list 1")}, false)
	if !forwards(t, w, "shop/web") {
		t.Error("the route is not served with the content")
	}
	want.Backends[0].Endpoints = []string{"10.0.0.1:8080", "10.0.0.2:8080"}
	outcome = change(t, w, slice, false)
	wantVia(t, key, outcome, want)
	if len(outcome.Statuses) > 0 {
		t.Errorf("endpoints change the statuses %v", outcome.Statuses)
	}

	authority, err := os.ReadFile("testdata/backend-tls.txtar")
	if err != nil {
		t.Fatal(err)
	}
	change(t, w, secured, false)
	refused("with a BackendTLSPolicy without CA certificates")
	outcome = change(t, w, authorities(t, authority), false)
	pem := outcome.Fetches[key].Via.Backends[0].TLS.Authorities
	if !strings.HasPrefix(string(pem), "-----BEGIN CERTIFICATE-----") {
		t.Errorf("trusted is %q", pem)
	}
	want.Backends[0].TLS = &ViaTLS{Authorities: pem, Verified: backendtls.Names{
		SNI:   "idp.auth",
		Hosts: []string{"login.test"}, URIs: []string{"spiffe://test/idp"},
	}}
	wantVia(t, key, outcome, want)
	if !forwards(t, w, "shop/web") {
		t.Error("the route is not served with the content that was fetched before")
	}
	change(t, w, grant, true)
	refused("without the grant again")
}

// TestFetchThroughListedEndpoints: the endpoints of a Backend are those that it lists, which are told apart from those
// that the cluster has found.
func TestFetchThroughListedEndpoints(t *testing.T) {
	w := newFetchingWorld(t)
	w.tables.settings.EnabledKinds = []string{v1alpha1.KindBackend}
	change(t, w, decode(t, []byte(strings.TrimSpace(sources)))[4], false)
	policy := listed("p", "one")
	policy.Annotations["through"] = "Backend//outside"
	outcome := change(t, w, policy, false)
	for key := range outcome.Fetches {
		wantVia(t, key, outcome, &Via{
			Source:   "SecurityPolicy shop: gateway.envoyproxy.io/Backend/shop/outside/0",
			Backends: []ViaBackend{{Endpoints: []string{"login.test.:443"}, Listed: true}},
		})
	}
	if len(outcome.Fetches) != 1 {
		t.Errorf("fetched is %v", outcome.Fetches)
	}
}

// TestFetchThroughSeveralBackends: all that can be used are asked, and content stays the same content when one of them
// comes or goes.
func TestFetchThroughSeveralBackends(t *testing.T) {
	w := newFetchingWorld(t)
	w.tables.settings.EnabledKinds = []string{v1alpha1.KindBackend}
	objects := decode(t, []byte(strings.TrimSpace(sources)))
	for _, o := range []Object{objects[1], objects[2], objects[4]} {
		change(t, w, o, false)
	}
	policy := listed("p", "one")
	policy.Annotations["through"] = "Service/auth/idp,Backend//outside"
	outcome := change(t, w, policy, false)
	key := slices.Collect(maps.Keys(outcome.Fetches))[0]
	outside := ViaBackend{Endpoints: []string{"login.test.:443"}, Listed: true}
	want := &Via{
		Source:   "SecurityPolicy shop: Service/auth/idp/80 gateway.envoyproxy.io/Backend/shop/outside/0",
		Backends: []ViaBackend{outside},
	}
	wantVia(t, key, outcome, want)
	byAddress := objects[4].(*v1alpha1.Backend).DeepCopy() // Names and addresses cannot be in one cluster.
	byAddress.Spec.Endpoints = []v1alpha1.BackendEndpoint{{IP: &v1alpha1.IPEndpoint{Address: "192.0.2.1", Port: 443}}}
	byAddress.SetGeneration(2)
	change(t, w, byAddress, false)
	want.Backends = []ViaBackend{
		{Endpoints: []string{"10.0.0.1:8080", "10.0.0.2:8080"}},
		{Endpoints: []string{"192.0.2.1:443"}, Listed: true},
	}
	wantVia(t, key, change(t, w, objects[0], false), want)
}

func wantVia(t *testing.T, key string, o Outcome, want *Via) {
	t.Helper()
	if o.Fetches[key] == nil || len(o.Fetches) != 1 {
		t.Errorf("fetched is %v", o.Fetches)
		return
	}
	if diff := cmp.Diff(want, o.Fetches[key].Via); diff != "" || o.Fetches[key].Key() != key {
		t.Errorf("key %s; the backend (-want +got):\n%s", o.Fetches[key].Key(), diff)
	}
}

// authorities is ConfigMap ca of a golden, in namespace auth.
func authorities(t *testing.T, golden []byte) Object {
	t.Helper()
	_, input, _ := strings.Cut(string(golden), "-- input.yaml --\n")
	for text := range strings.SplitSeq(input, "\n---\n") {
		if strings.Contains(text, "kind: ConfigMap") {
			o := decode(t, []byte(text))[0]
			o.SetNamespace("auth")
			return o
		}
	}
	t.Fatal("the golden has no ConfigMap")
	return nil
}
