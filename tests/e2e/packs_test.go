package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPacks: the chart installs all packs of rules with the severities of its values. A route with a hostname of others, a
// route that would take effect without authentication, and the deletion of the policy that guards it are denied.
func TestPacks(t *testing.T) { // Not parallel, because the rules hold everywhere.
	helm := func(args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "helm"), append([]string{"-n", "gatehouse-system"}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"))
		out, err := cmd.CombinedOutput()
		must(t, string(out), err)
	}
	s := newScene(t, "packs")
	s.kubectl(t, "annotate", "namespace", s.namespace, "gatehouse.dev/hostnames=*.shop.example.com")
	folders, err := filepath.Glob(filepath.Join(root, "policies/rules/packs/*/"))
	if err != nil {
		t.Fatal(err)
	}
	upgrade := []string{"upgrade", "gatehouse", filepath.Join(root, "manifests/gatehouse"), "--reuse-values"}
	var packs []string
	for _, folder := range folders {
		info, err := os.Stat(folder)
		if err != nil || !info.IsDir() {
			continue
		}
		pack, severity := filepath.Base(folder), "audit"
		if pack == "hostname-ownership" || pack == "authentication-required" {
			severity = "deny"
		}
		packs = append(packs, pack)
		upgrade = append(upgrade, "--set", "rulePacks."+pack+".severity="+severity)
	}
	helm(upgrade...)
	t.Cleanup(func() { helm("rollback", "gatehouse", "--wait", "--timeout", "60s") })
	eventually(t, "all rules to be in effect", func() error {
		out, err := kubectl("get", "admissionrules", "-l", "app.kubernetes.io/managed-by=Helm", "-o",
			`jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Accepted")].status} {end}`)
		if err == nil && (strings.Count(out, "=True") <= len(packs) || strings.Count(out, "=") != strings.Count(out, "=True")) {
			err = fmt.Errorf("%d packs: %s", len(packs), out)
		}
		return err
	})
	s.apply(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec: {gatewayClassName: eg, listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: users}
data: {.htpasswd: YWxpY2U6e1NIQX01ZW42RzZNZXpScm9UM1hLcWtkUE9tWS9CZlE9Cg==}
`)
	route := func(host string) string {
		return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart}
spec: {parentRefs: [{name: gw}], hostnames: [%s], rules: [{backendRefs: [{name: shop, port: 80}]}]}
`, host)
	}
	denied := func(what, words string, change func() (string, error)) {
		t.Helper()
		eventually(t, what+" to be denied", func() error {
			if out, err := change(); err == nil || !strings.Contains(out, words) {
				return fmt.Errorf("want a denial with %q: %s", words, out)
			}
			return nil
		})
	}
	dryRun := func(manifest string) func() (string, error) {
		return func() (string, error) { return apply(manifest, "-n", s.namespace, "--dry-run=server") }
	}
	denied("a hostname of others", "rule hostname-ownership: hostname pay.example.com belongs to others, and the namespace owns *.shop.example.com",
		dryRun(route("pay.example.com")))
	denied("an open route", "rule authentication-required: anyone could use HTTPRoute cart", dryRun(route("cart.shop.example.com")))

	out, err := s.tryApply(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: login}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: cart}]
  basicAuth: {users: {name: users}}
`)
	must(t, out, err)
	eventually(t, "the guarded route to be stored", func() error {
		out, err := s.tryApply(route("cart.shop.example.com"))
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	denied("the deletion of its policy", "rule authentication-required: anyone could use HTTPRoute cart", func() (string, error) {
		return kubectl("-n", s.namespace, "delete", "securitypolicy", "login", "--dry-run=server")
	})
	s.kubectl(t, "delete", "httproute", "cart")
}
