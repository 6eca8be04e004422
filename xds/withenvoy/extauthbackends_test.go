package withenvoy

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// TestServersOfExtAuth has several servers decide about the requests of a policy. They share the requests, a server
// that does not exist keeps its share, which is denied, and a fallback is asked if the others have no endpoint.
func TestServersOfExtAuth(t *testing.T) {
	c := startTranslated(t, false)
	servers := map[string][]translator.Object{}
	for _, name := range []string{"one", "two", "spare"} {
		servers[name] = c.behind(name, http.HandlerFunc(func(w http.ResponseWriter,
			_ *http.Request,
		) {
			w.Header().Set("X-User", name)
		}))
		c.apply(servers[name]...)
	}
	c.apply(c.behind("seen", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_,
			_ = io.WriteString(w, r.Header.Get("X-User"))
	}))...)
	c.apply(c.route("open.test", nil))
	c.serves(proxyPort, "open.test")
	route := c.route("orders.test", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "seen"
	ref := func(name gwapiv1.ObjectName, fallback bool) v1alpha1.BackendRef {
		return v1alpha1.BackendRef{Fallback: &fallback, BackendObjectReference: gwapiv1.BackendObjectReference{
			Name: name, Port: new(gwapiv1.PortNumber(80)),
		}}
	}
	policy := func(refs ...v1alpha1.BackendRef) *v1alpha1.SecurityPolicy {
		p := c.admitting("guarded", "HTTPRoute", route.Name, nil)
		p.Spec.CORS = nil
		p.Spec.ExtAuth = &v1alpha1.ExtAuth{HTTP: &v1alpha1.HTTPExtAuthService{HeadersToBackend: []string{"X-User"}}}
		p.Spec.ExtAuth.HTTP.BackendRefs = refs
		return p
	}
	// answers are the different ones to many requests.
	answers := func() string {
		t.Helper()
		seen := map[string]bool{}
		for range 40 {
			response := verbatim(t, http.MethodGet, "orders.test", "/orders")
			if body, _ := io.ReadAll(response.Body); response.StatusCode == http.StatusOK {
				seen[string(body)] = true
			} else {
				seen[fmt.Sprint(response.StatusCode)] = true
			}
		}
		return fmt.Sprint(slices.Sorted(maps.Keys(seen)))
	}
	c.apply(route)
	for _, step := range []struct {
		what  string
		apply []translator.Object
		gone  []translator.Object
		want  string
	}{
		{
			"two servers",
			[]translator.Object{policy(ref("one", false), ref("two", false), ref("spare", true))},
			nil,
			"[one two]",
		},
		{
			"one server that does not exist",
			[]translator.Object{policy(ref("one", false), ref("absent", false))},
			nil,
			"[403 one]",
		},
		{"no server that exists", []translator.Object{policy(ref("gone", false), ref("absent", false))}, nil, "[500]"},
		{
			"a fallback",
			[]translator.Object{policy(ref("one", false), ref("two", false), ref("spare", true))},
			servers["one"][1:], "[two]",
		},
		{"only a fallback", nil, servers["two"][1:], "[spare]"},
	} {
		c.apply(step.apply...)
		for _, o := range step.gone {
			c.delete(o)
		}
		var got string
		envoytest.WaitFor(t, step.what, func() bool { got = answers(); return got == step.want })
	}
}
