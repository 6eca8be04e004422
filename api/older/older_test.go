package older

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// TestSessions: the sessions of a rule are the same with the names of v1.6 and of v1.7.
func TestSessions(t *testing.T) {
	for _, words := range []struct{ older, newer string }{
		{"{sessionName: cart}", "{cookie: {name: cart}}"},
		{
			"{type: Cookie, sessionName: cart, absoluteTimeout: 1h}",
			"{type: Cookie, cookie: {name: cart}, absoluteTimeout: 1h}",
		},
		{
			"{type: Cookie, sessionName: cart, cookieConfig: {lifetimeType: Permanent}}",
			"{type: Cookie, cookie: {name: cart, lifetimeType: Permanent}}",
		},
		{"{type: Cookie, cookieConfig: {lifetimeType: Session}}", "{type: Cookie, cookie: {lifetimeType: Session}}"},
		{"{type: Header, sessionName: x-cart}", "{type: Header, header: {name: x-cart}}"},
		{"{type: Cookie}", "{type: Cookie}"},
		{"{type: Header, sessionName: \"\"}", "{type: Header}"},
		{"{type: Header, sessionName: x-old, header: {name: x-new}}", "{type: Header, header: {name: x-new}}"},
		{"{sessionName: old, cookieConfig: {lifetimeType: Session}, cookie: {name: new}}", "{cookie: {name: new}}"},
		{"null", "null"},
	} {
		if got, want := session(t, words.older), session(t, words.newer); !cmp.Equal(got, want) {
			t.Errorf("%s is not %s (-got +want):\n%s", words.older, words.newer, cmp.Diff(got, want))
		}
	}
}

// session reads the first rule's sessions out of a route.
func session(t *testing.T, text string) *gwapiv1.SessionPersistence {
	t.Helper()
	var stored map[string]any
	if err := yaml.Unmarshal([]byte("spec: {rules: [{sessionPersistence: "+text+"}]}"), &stored); err != nil {
		t.Fatal(err)
	}
	route := &gwapiv1.GRPCRoute{}
	if err := Read(stored, route); err != nil {
		t.Fatal(err)
	}
	return route.Spec.Rules[0].SessionPersistence
}

// FuzzRead: reading any stored object ends with an object or an error.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"{}", "{spec: []}", "{spec: {rules: 1}}",
		"{spec: {rules: [1, {sessionPersistence: 1}]}}",
		"{spec: {rules: [{sessionPersistence: {sessionName: 1, cookie: 2}}]}}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		var stored map[string]any
		if yaml.Unmarshal([]byte(text), &stored) == nil {
			_ = Read(stored, &gwapiv1.HTTPRoute{})
		}
	})
}
