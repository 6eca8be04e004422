package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// TestContext: with --context, the command judges files as changes of the cluster. A route finds its Gateway there, a
// changed Gateway warns of the stored routes that it breaks, and diff and explain tell what files would change. Whoever may
// not list Secrets is told so, and hears nothing about missing ones.
func TestContext(t *testing.T) {
	t.Parallel()
	s := newScene(t, "context")
	s.apply(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  listeners:
  - {name: one, protocol: HTTP, port: 80}
  - {name: two, protocol: HTTP, port: 8080}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stored}
spec:
  parentRefs: [{name: gw, sectionName: two}]
  hostnames: [stored.example.com]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
`)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "NAMESPACE", s.namespace)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	route := file("route.yaml", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: NAMESPACE}
spec:
  parentRefs: [{name: gw, sectionName: one}]
  hostnames: [cart.example.com]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
`)
	gateway := file("gateway.yaml", `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: NAMESPACE}
spec:
  gatewayClassName: eg
  listeners:
  - {name: one, protocol: HTTP, port: 80}
  - {name: tls, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: no-such}]}}
`)
	admin, limited := kubeconfigs(t, s.namespace)

	out, code := gatehouse(t, "check", "--kubeconfig", admin, "--context", "local", route)
	if code != 0 || !strings.Contains(out, "1 object judged: 0 errors, 0 warnings") {
		t.Errorf("a route whose Gateway is in the cluster: exit code %d\n%s", code, out)
	}
	out, code = gatehouse(t, "check", "--kubeconfig", admin, "--context", "local", gateway)
	if code != 0 || !strings.Contains(out, `Secret `) ||
		!strings.Contains(out, "context local:1:1: warning: HTTPRoute/"+s.namespace+"/stored: spec.parentRefs[0]") {
		t.Errorf("a Gateway without the listener of a stored route: exit code %d\n%s", code, out)
	}
	out, code = gatehouse(t, "check", "--kubeconfig", limited, "--context", "local", gateway)
	if code != 0 || !strings.Contains(out, "you may not list Secret in context local") || strings.Contains(out, "no-such") {
		t.Errorf("by a user who may not list Secrets: exit code %d\n%s", code, out)
	}
	out, code = gatehouse(t, "diff", "--kubeconfig", admin, "--context", "local", route)
	if code != 1 || !strings.Contains(out, "cart.example.com") || strings.Contains(out, "stored.example.com") {
		t.Errorf("the difference that a route makes: exit code %d\n%s", code, out)
	}
	out, code = gatehouse(t, "explain", "http://stored.example.com:8080/", "--kubeconfig", admin, "--context", "local",
		"--gateway", s.namespace+"/gw")
	if code != 0 || !strings.Contains(out, "HTTPRoute/"+s.namespace+"/stored") {
		t.Errorf("a request in the cluster: exit code %d\n%s", code, out)
	}
	out, code = gatehouse(t, "check", "--kubeconfig", admin, "--context", "no-such", route)
	if code != 2 || !strings.Contains(out, `--context no-such`) {
		t.Errorf("a context that does not exist: exit code %d\n%s", code, out)
	}
}

// gatehouse runs the command, and returns what it writes on both outputs, and its exit code.
func gatehouse(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, "gatehouse"), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// kubeconfigs are files with context local: of the administrator, and of somebody who may list everything but Secrets.
func kubeconfigs(t *testing.T, user string) (admin, limited string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	config.Contexts["local"] = config.Contexts[config.CurrentContext]
	admin, limited = filepath.Join(t.TempDir(), "admin"), filepath.Join(t.TempDir(), "limited")
	if err := clientcmd.WriteToFile(*config, admin); err != nil {
		t.Fatal(err)
	}
	who := config.AuthInfos[config.Contexts["local"].AuthInfo]
	who.Impersonate, who.ImpersonateGroups = user, []string{"system:authenticated"}
	if err := clientcmd.WriteToFile(*config, limited); err != nil {
		t.Fatal(err)
	}
	role := strings.ReplaceAll(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: USER}
rules:
- {apiGroups: [""], resources: [namespaces, services, configmaps], verbs: [list]}
- apiGroups: [gateway.networking.k8s.io, gateway.networking.x-k8s.io, gateway.envoyproxy.io, gatehouse.dev, discovery.k8s.io,
    multicluster.x-k8s.io, admissionregistration.k8s.io, apiextensions.k8s.io, certificates.k8s.io]
  resources: ["*"]
  verbs: [list]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: USER}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: USER}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: USER}]
`, "USER", user)
	out, err := apply(role)
	must(t, out, err)
	t.Cleanup(func() {
		for _, kind := range []string{"clusterrolebinding", "clusterrole"} {
			if out, err := kubectl("delete", kind, user); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	})
	return admin, limited
}
