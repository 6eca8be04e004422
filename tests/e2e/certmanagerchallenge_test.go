package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// closedGateway has a listener that everybody must authenticate to, and that redirects to HTTPS.
const closedGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec: {gatewayClassName: eg, listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {.htpasswd: "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: people}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  basicAuth: {users: {name: users}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect}
spec: {parentRefs: [{name: gw}], rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}]}
`

// heldChallenge is a Challenge as cert-manager's Orders have them, for a host and a token, with an issuer that nobody
// has, so that cert-manager leaves it alone.
const heldChallenge = `
apiVersion: acme.cert-manager.io/v1
kind: Challenge
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  authorizationURL: https://acme.example.com/authz
  url: https://acme.example.com/challenge
  dnsName: %[3]s
  issuerRef: {name: nobody}
  type: HTTP-01
  token: %[4]s
  key: %[4]s.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI
  solver: {http01: {gatewayHTTPRoute: {}}}
`

// challengeRoute is the route that cert-manager makes for a Challenge.
const challengeRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  parentRefs: [{name: gw}]
  hostnames: [%[3]s]
  rules:
  - matches: [{path: {type: Exact, value: /.well-known/acme-challenge/%[4]s}}]
    backendRefs: [{name: solver, port: 8089}]
`

// TestCertManagerChallengeWithinASecond: from the moment that the route of a challenge is stored, it takes less than a
// second until the ACME server would get its answer, on a listener that redirects everybody and lets nobody in. The
// limit is the product's, and far above what is measured.
func TestCertManagerChallengeWithinASecond(t *testing.T) {
	t.Parallel()
	certManager(t)
	s := newScene(t, "challenged")
	host := s.host()
	s.apply(t, closedGateway)
	at := "http://" + address(t, s.namespace, "gw") + ":80"
	ask := func(token string) (status int, body string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"/.well-known/acme-challenge/"+token, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := http.DefaultTransport.RoundTrip(request) // It follows no redirect.
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = response.Body.Close() }()
		text, _ := io.ReadAll(response.Body) // What is missing is not what is waited for.
		return response.StatusCode, string(text)
	}
	eventually(t, "the policy", func() error {
		if status, body := ask("none"); status != http.StatusUnauthorized {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	admin := newUser(t)
	create := func(format string, owner *unstructured.Unstructured, name, token string) *unstructured.Unstructured {
		t.Helper()
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(fmt.Appendf(nil, format, name, s.namespace, host, token), object); err != nil {
			t.Fatal(err)
		}
		if owner != nil {
			object.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(owner, owner.GroupVersionKind())})
		}
		if err := admin.client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		return object
	}
	var took []time.Duration
	for i := range 20 {
		name, token := fmt.Sprint("held-", i), fmt.Sprintf("DGyRejmCefe7v4NfDGDK%02d", i)
		route := create(challengeRoute, create(heldChallenge, nil, name, token), name, token)
		begun := time.Now()
		within(t, time.Minute, "the answer to "+name, func() error {
			if status, body := ask(token); status != http.StatusOK || body != token+".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI" {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
		took = append(took, time.Since(begun))
		if status, body := ask(token + "x"); status != http.StatusUnauthorized {
			t.Errorf("another path of the host is answered with %d %s", status, body)
		}
		if err := admin.delete(route); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(took)
	t.Logf("from the stored route to the answer: half within %s, all within %s", took[len(took)/2], took[len(took)-1])
	if took[len(took)-1] > time.Second {
		t.Errorf("answers take too long: %s", took)
	}
}
