package webhook

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

const annotatedYAML = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: issued, namespace: default, annotations: {cert-manager.io/issuer: acme}}
spec:
  gatewayClassName: eg
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: a, protocol: HTTPS, port: 443, hostname: HOST}
`

// TestCertManagerInAPIServer: in an API server with the CRDs of cert-manager, a listener without certificateRefs gets
// those that the schema demands, applying the manifest again changes nothing, and what the stored Issuer can never issue
// is refused.
func TestCertManagerInAPIServer(t *testing.T) {
	c := realCluster(t)
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager").Output()
	if err != nil {
		t.Fatal(err)
	}
	crds := filepath.Join(strings.TrimSpace(string(module)), "deploy/crds")
	if err := c.installCRD(filepath.Join(crds, "cert-manager.io_issuers.yaml")); err != nil {
		t.Fatal(err)
	}
	issuer := parsed(t, `{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {name: acme, namespace: default}, spec: {acme: {
		server: "https://acme.example.com", privateKeySecretRef: {name: account}, solvers: [{http01: {gatewayHTTPRoute: {}}}]}}}`)
	c.create(t, issuer)
	stored := &cmv1.Issuer{}
	if err := c.client.Get(t.Context(), client.ObjectKeyFromObject(issuer), stored); err != nil {
		t.Fatal(err)
	}
	world := newTables(t, []byte(tables))
	if _, err := world.Apply([]translator.Event{{Object: stored}}); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Options{
		Trier:      TrierFunc(func(ctx context.Context, o client.Object) ([]translator.Finding, error) { return world.Try(ctx, o) }),
		Namespaces: c.client, Exists: Live(c.client, c.client.RESTMapper()),
	})
	c.tidy(t, "default")
	c.register(t, s, admissionregv1.Fail)
	user, warnings := c.user(t)

	gateway := parsed(t, strings.ReplaceAll(annotatedYAML, "HOST", "a.example.com"))
	if err := user.Create(t.Context(), gateway); err != nil {
		t.Fatal(err)
	}
	name := secretName("Gateway", "issued", "a")
	listeners, _, _ := unstructured.NestedSlice(gateway.Object, "spec", "listeners")
	want := map[string]any{"mode": "Terminate", "certificateRefs": []any{map[string]any{"group": "", "kind": "Secret", "name": name}}}
	if diff := cmp.Diff(any(want), listeners[1].(map[string]any)["tls"]); diff != "" {
		t.Error(diff)
	}
	for i, part := range []string{
		"spec.listeners[1].tls.certificateRefs: not given, so they are Secret \"" + name + "\", which cert-manager issues by Issuer \"acme\"",
		"no Secret \"" + name + "\" in namespace \"default\" yet: Issuer \"acme\" is to issue it",
	} {
		if i >= len(warnings.texts) || !strings.Contains(warnings.texts[i], part) {
			t.Errorf("warned %q, want %q", warnings.texts, part)
		}
	}

	again := parsed(t, strings.ReplaceAll(annotatedYAML, "HOST", "a.example.com"))
	again.SetResourceVersion(gateway.GetResourceVersion())
	if err := user.Update(t.Context(), again); err != nil || again.GetGeneration() != gateway.GetGeneration() {
		t.Errorf("applied again: %v, generation %d after %d", err, again.GetGeneration(), gateway.GetGeneration())
	}

	wildcard := parsed(t, strings.ReplaceAll(annotatedYAML, "HOST", `"*.example.com"`))
	wildcard.SetResourceVersion(again.GetResourceVersion())
	if err := user.Update(t.Context(), wildcard); !apierrors.IsInvalid(err) ||
		!strings.Contains(err.Error(), `Issuer "acme" proves "*.example.com" by HTTP-01 only`) {
		t.Errorf("a wildcard: %v", err)
	}
}
