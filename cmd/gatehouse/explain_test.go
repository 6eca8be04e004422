package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"gatehouse/xds/explain"
)

// TestGoldensAreKnown asks for a request on each listener of the translation's goldens, and on a Gateway with the policy
// of each golden of a feature: nothing of Envoy that the translation and the features use may be unknown to explain.
func TestGoldensAreKnown(t *testing.T) {
	asked := 0
	for name, input := range goldenInputs(t) {
		file := filepath.Join(t.TempDir(), "input.yaml")
		if err := os.WriteFile(file, input, 0o600); err != nil {
			t.Fatal(err)
		}
		manifests, err := (&manifestOptions{namespace: "default", unvalidated: true}).read(nil, []string{file}, nil)
		if err != nil {
			t.Fatal(err)
		}
		background := manifests.background()
		for _, d := range manifests.Outcome.Deltas {
			f, err := explain.NewFleet(d, manifests.Outcome.Requirements[d.Fleet])
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range background.Listeners {
				if !l.Serves || !strings.HasPrefix(l.Key, d.Fleet+"/") || l.Protocol == "UDP" {
					continue
				}
				host := strings.Replace(l.Hostname, "*", "a", 1)
				r := &explain.Request{
					Method: "GET", TLS: l.Protocol == "HTTPS" || l.Protocol == "TLS", ServerName: host, Port: l.Port,
					Authority: host, Path: "/",
				}
				if _, err := explain.Explain(f, background, r, "GET /"); err != nil && !errors.Is(err, explain.ErrSource) {
					t.Errorf("%s, listener %s: %v", name, l.Key, err)
				}
				asked++
			}
		}
	}
	if asked < 100 {
		t.Errorf("only %d listeners were asked", asked)
	}
}

// policed is a Gateway with a route, for a policy.
const policed = `{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: eg}, spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: web, namespace: shop}, spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: orders, namespace: shop}, spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: orders, port: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: shop}, spec: {ports: [{port: 80}]}}
---
`

// goldenInputs are the manifests of goldens, by the names of their files.
func goldenInputs(t *testing.T) map[string][]byte {
	t.Helper()
	inputs := map[string][]byte{}
	for _, pattern := range []string{"../../translator/testdata/*.txtar", "../../policies/*/*.txtar"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no goldens found: %v", err)
		}
		for _, name := range names {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			inputs[name] = archive.Files[0].Data
			if strings.HasPrefix(name, "../../policies/") {
				inputs[name] = onGateway(t, inputs[name])
			}
		}
	}
	return inputs
}

// onGateway is a policy on the Gateway of policed.
func onGateway(t *testing.T, text []byte) []byte {
	t.Helper()
	policy := map[string]any{}
	if err := yaml.Unmarshal(text, &policy); err != nil {
		t.Fatal(err)
	}
	policy["metadata"] = map[string]any{"name": "policy", "namespace": "shop"}
	spec, _ := policy["spec"].(map[string]any)
	spec["targetRefs"] = []any{map[string]any{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"}}
	delete(spec, "targetRef")
	delete(spec, "targetSelectors")
	encoded, err := yaml.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(policed), encoded...)
}
