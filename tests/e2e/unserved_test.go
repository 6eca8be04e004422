package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What Envoy Gateway's users have: authentication that is not served yet, on one of two routes.
const (
	twoHosts = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: open}
spec: {parentRefs: [{name: gw}], hostnames: [open.example.com], rules: [{backendRefs: [{name: a, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: people}
spec: {parentRefs: [{name: gw}], hostnames: [people.example.com], rules: [{backendRefs: [{name: a, port: 80}]}]}
`
	authentication = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: people}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: people}]
  jwt: {providers: [{name: corp, remoteJWKS: {uri: "https://id.example.com/jwks"}}]}
`
	clientCertificates = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: clients}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  tls: {clientValidation: {caCertificateRefs: [{name: ca}]}}
`
	judgedByExtension = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: judge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  extProc: [{backendRefs: [{name: a, port: 80}]}]
`
	jwtWords = `spec.jwt: "jwt" is not served yet, so nothing that the policy covers is served`
)

// TestProtectionIsNeverLeftOut: a policy that was stored with authentication which is not served keeps it, and its
// route answers 500 instead of forwarding without. So does a whole Gateway whose listeners have such a policy, or a
// policy of a kind that is not served, from the moment its CRD appears.
func TestProtectionIsNeverLeftOut(t *testing.T) {
	t.Parallel()
	s := newScene(t, "migrated", "gatehouse.dev/admission=off")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, twoHosts)
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET people.example.com/", http.StatusOK)
	eventually(t, "nobody is asked about the policy", func() error {
		out, err := s.tryApply(authentication)
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	settles(t, at, "GET people.example.com/", http.StatusInternalServerError)
	settles(t, at, "GET open.example.com/", http.StatusOK)
	s.becomes(t, "securitypolicy/people", condition(".status.ancestors[0]", "Accepted"), "False")
	if words := s.kubectl(t, "get", "securitypolicy/people", "-o",
		"jsonpath="+message(".status.ancestors[0]", "Accepted")); !strings.Contains(words, jwtWords) {
		t.Errorf("its status says %q", words)
	}
	s.becomes(t, "securitypolicy/people", "{.spec.jwt.providers[0].remoteJWKS.uri}", "https://id.example.com/jwks")
	s.lookBeforeChangingOver(t)

	out, err := kubectl("apply", "-f", "testdata/envoyextensionpolicy-crd.yaml")
	must(t, out, err)
	// The cluster goes anyway.
	t.Cleanup(func() { _, _ = kubectl("delete", "-f", "testdata/envoyextensionpolicy-crd.yaml") })
	for policy, object := range map[string]string{
		"clienttrafficpolicy/clients": clientCertificates,
		"envoyextensionpolicy/judge":  judgedByExtension,
	} {
		eventually(t, "the policy can be stored", func() error {
			out, err := s.tryApply(object)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		})
		settles(t, at, "GET open.example.com/", http.StatusInternalServerError)
		s.becomes(t, policy, condition(".status.ancestors[0]", "Accepted"), "False")
		s.kubectl(t, "delete", policy)
		settles(t, at, "GET open.example.com/", http.StatusOK)
	}
}

// lookBeforeChangingOver runs what docs/operations.md tells whoever comes from Envoy Gateway to run.
func (s scene) lookBeforeChangingOver(t *testing.T) {
	t.Helper()
	trial := newScene(t, "trial")
	script := `kubectl get securitypolicies -n ` + s.namespace + ` -o yaml |
  sed 's/^    namespace: .*/    namespace: ` + trial.namespace + `/; /^    resourceVersion: /d' | kubectl create --dry-run=server -f -`
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"), "PATH="+bin+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), jwtWords) {
		t.Errorf("what is stored passes: %v: %s", err, out)
	}
}

// TestUnreadFieldsAreRefused: a field that does not work is refused instead of storing a policy that is honoured in
// part, with the name that was meant if there is one, by every way to apply it.
func TestUnreadFieldsAreRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t, "unread")
	const misspelt = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: typo}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  retry: {perRetry: {backoff: {baseInterval: 1s}}}
`
	const misspeltFleet = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: typo}
spec: {provider: {type: Kubernetes, kubernetes: {envoyDeployment: {pod: {affinity: {podAfinity: {}}}}}}}
`
	for _, c := range []struct{ manifest, words string }{
		{authentication, jwtWords},
		{misspelt, `spec.retry.perRetry.backoff: "backoff" is not a known field, so nothing that the policy covers is served: write backOff`},
		{misspeltFleet, `envoyDeployment.pod.affinity.podAfinity: "podAfinity" is not a known field, so no Gateway is accepted with these settings: write podAffinity`},
	} {
		for _, flags := range [][]string{nil, {"--server-side"}} {
			out, err := apply(c.manifest, append(flags, "-n", s.namespace)...)
			if err == nil || !strings.Contains(out, c.words) {
				t.Errorf("kubectl apply %v: %v: %s\nlacks %q", flags, err, out, c.words)
			}
		}
	}
}
