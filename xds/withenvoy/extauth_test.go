package withenvoy

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// TestExtAuth has a server decide about the requests of a policy, in every state of the server: absent, there, broken
// and gone. Without failOpen nothing is served that the server has not let through. The client names itself another
// user.
func TestExtAuth(t *testing.T) {
	c := startTranslated(t, false)
	server := c.behind("authorizer", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/check/orders":
			w.WriteHeader(http.StatusTeapot)
		case r.Header.Get("Authorization") == "broken":
			w.WriteHeader(http.StatusInternalServerError)
		case r.Header.Get("Authorization") != "alice":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("X-User", "alice")
			w.Header().Set("X-Internal", "kept")
		}
	}))
	c.apply(c.behind("seen", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "hello %q %q", r.Header["X-User"], r.Header["X-Internal"])
	}))...)
	c.apply(c.route("open.test", nil))
	c.serves(proxyPort, "open.test")
	route := c.route("orders.test", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "seen"
	policy := func(failOpen bool) translator.Object {
		p := &v1alpha1.SecurityPolicy{ObjectMeta: c.meta("guarded")}
		p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
			LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
				Group: gwapiv1.GroupName, Kind: "HTTPRoute", Name: gwapiv1.ObjectName(route.Name),
			},
		}}
		http := &v1alpha1.HTTPExtAuthService{Path: new("/check"), HeadersToBackend: []string{"X-User"}}
		http.BackendRefs = []v1alpha1.BackendRef{{BackendObjectReference: gwapiv1.BackendObjectReference{
			Name: "authorizer", Port: new(gwapiv1.PortNumber(80)),
		}}}
		p.Spec.ExtAuth = &v1alpha1.ExtAuth{HTTP: http, FailOpen: &failOpen, StatusOnError: new(int32(503))}
		return p
	}
	ask := func(authorization string) string {
		t.Helper()
		response := verbatim(t, http.MethodGet, "orders.test", "/orders", "Authorization: "+authorization, "X-User: mallory")
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusOK {
			return fmt.Sprint(response.StatusCode)
		}
		return string(body)
	}
	for _, step := range []struct {
		what                  string
		apply                 []translator.Object
		gone                  []translator.Object
		alice, others, broken string
	}{
		{"without a server", []translator.Object{route, policy(false)}, nil, "500", "500", "500"},
		{"with a server", server, nil, `hello ["alice"] []`, "401", "503"},
		{"with failOpen", []translator.Object{policy(true)}, nil, `hello ["alice"] []`, "401", "hello [] []"},
		{"without failOpen", []translator.Object{policy(false)}, nil, `hello ["alice"] []`, "401", "503"},
		{"with the server deleted", nil, server, "500", "500", "500"},
		{"with failOpen and no server", []translator.Object{policy(true)}, nil, "hello [] []", "hello [] []", "hello [] []"},
	} {
		c.apply(step.apply...)
		for _, o := range step.gone {
			c.delete(o)
		}
		envoytest.WaitFor(t, step.what, func() bool { return ask("alice") == step.alice && ask("broken") == step.broken })
		if got := ask("bob"); got != step.others {
			t.Errorf("%s: another client got %s, want %s", step.what, got, step.others)
		}
	}
}
