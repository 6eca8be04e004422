package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEnvoyGatewayManifests: manifests that were written for Envoy Gateway apply unchanged and without a warning, and
// do what they did. The platform team's come first, as an application team's route to a Gateway that is not there yet
// would be warned of.
func TestEnvoyGatewayManifests(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"fleet.yaml", "shop.yaml"} {
		manifest, err := os.ReadFile(filepath.Join("testdata/envoy-gateway", name))
		if err != nil {
			t.Fatal(err)
		}
		out, err := apply(string(manifest))
		// The cluster goes anyway.
		t.Cleanup(func() { _, _ = kubectl("delete", "--wait=false", "-f", filepath.Join("testdata/envoy-gateway", name)) })
		if must(t, out, err); strings.Contains(out, "Warning") {
			t.Errorf("%s: %s", name, out)
		}
	}
	platform, shop := scene{"envoy-gateway-system"}, scene{"shop"}
	platform.becomes(t, "gateway/internet", message(".status", "Programmed"), "2/2 envoy replicas available")
	at := address(t, platform.namespace, "internet")

	a := settles(t, at, "GET www.shop.example.com/api/items", http.StatusOK, "x-beta", "true")
	if a.asked.Path != "/beta/items" || !strings.HasPrefix(a.header.Get("Set-Cookie"), "session=") ||
		!strings.Contains(a.header.Get("Set-Cookie"), "SameSite=Strict") {
		t.Errorf("the backend was asked for %q; cookie %q", a.asked.Path, a.header.Get("Set-Cookie"))
	}
	if a := settles(t, at, "GET www.shop.example.com/api/items", http.StatusOK); a.asked.Path != "/api/items" {
		t.Errorf("the backend was asked for %q", a.asked.Path)
	}
	a = asked(t, at, "OPTIONS www.shop.example.com/", "Origin", "http://localhost:8080", "Access-Control-Request-Method",
		"POST")
	if a.header.Get("Access-Control-Max-Age") != "86400" {
		t.Errorf("the preflight request was answered %d %v", a.code, a.header)
	}
	settles(t, at, "GET admin.shop.example.com/", http.StatusForbidden)

	for _, policy := range []string{
		"backendtrafficpolicy/web", "backendtrafficpolicy/everything-else",
		"securitypolicy/web-cors", "securitypolicy/admins-only",
	} {
		shop.becomes(t, policy, condition(".status.ancestors[0]", "Accepted"), "True")
	}
	fleet := []string{
		"get", "deployments", "-n", "gatehouse-system", "-l", "gateway.envoyproxy.io/owning-gateway-name=internet", "-o",
		`jsonpath={.items[0].spec.replicas} {.items[0].spec.template.metadata.annotations.example\.com/team} {.items[0].spec.template.metadata.annotations.example\.com/patched} {.items[0].spec.template.metadata.labels.tier}`,
	}
	out, err := kubectl(fleet...)
	if must(t, out, err); out != "2 edge yes edge" {
		t.Errorf("replicas, annotations and label of the fleet: %s", out)
	}
}
