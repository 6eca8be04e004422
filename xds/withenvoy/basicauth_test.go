package withenvoy

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// users makes a Secret with one user.
func (c *translated) users(name, password string) *corev1.Secret {
	sum := sha1.Sum([]byte(password))
	return &corev1.Secret{ObjectMeta: c.meta("people"), Data: map[string][]byte{
		".htpasswd": fmt.Appendf(nil, "# People\r\n%s:{SHA}%s\r\n", name, base64.StdEncoding.EncodeToString(sum[:])),
	}}
}

// TestBasicAuth sends requests of users and of others, while the Secret with the users changes, goes and comes back.
func TestBasicAuth(t *testing.T) {
	c := startTranslated(t, false)
	c.apply(c.behind("seen", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "hello %q", r.Header["X-User"])
	}))...)
	c.apply(c.route("open.test", nil))
	c.serves(proxyPort, "open.test")
	route := c.route("orders.test", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "seen"
	policy := &v1alpha1.SecurityPolicy{ObjectMeta: c.meta("people")}
	policy.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
			Group: gwapiv1.GroupName, Kind: "HTTPRoute",
			Name: gwapiv1.ObjectName(route.Name),
		},
	}}
	policy.Spec.BasicAuth = &v1alpha1.BasicAuth{
		Users:                 gwapiv1.SecretObjectReference{Name: "people"},
		ForwardUsernameHeader: new("x-user"),
	}
	ask := func(credentials ...string) string {
		t.Helper()
		lines := []string{"X-User: admin"}
		for _, credential := range credentials {
			lines = append(lines, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(credential)))
		}
		response := verbatim(t, http.MethodGet, "orders.test", "/", lines...)
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode == http.StatusUnauthorized && response.Header.Get("Www-Authenticate") == "" {
			t.Error("an answer 401 does not ask for credentials")
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Sprint(response.StatusCode)
		}
		return string(body)
	}
	for _, step := range []struct {
		what   string
		apply  []translator.Object
		gone   translator.Object
		alice  string
		others string
	}{
		{"without a Secret", []translator.Object{route, policy}, nil, "500", "500"},
		{"with users", []translator.Object{c.users("alice", "secret")}, nil, `hello ["alice"]`, "401"},
		{"with another password", []translator.Object{c.users("alice", "changed")}, nil, "401", "401"},
		{"with the first password", []translator.Object{c.users("alice", "secret")}, nil, `hello ["alice"]`, "401"},
		{"with the Secret deleted", nil, c.users("alice", "secret"), "500", "500"},
	} {
		c.apply(step.apply...)
		if step.gone != nil {
			c.delete(step.gone)
		}
		envoytest.WaitFor(t, step.what, func() bool { return ask("alice:secret") == step.alice })
		for _, credentials := range [][]string{nil, {"alice:wrong"}, {"bob:secret"}, {"alice"}, {":"}} {
			if got := ask(credentials...); got != step.others {
				t.Errorf("%s: credentials %q got %s, want %s", step.what, credentials, got, step.others)
			}
		}
	}
	c.reports(func(p translator.Proxy, _ bool) string {
		if len(p.Rejected)+len(p.Guilty) > 0 {
			return fmt.Sprintf("Envoy refused %v %v", p.Rejected, p.Guilty)
		}
		return ""
	})
}
