package translator

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/feature"
)

// fetching is a feature of the test: SecurityPolicies of team a need a list from a web server, and those of team b a
// module.
var fetching = feature.Feature[v1alpha1.SecurityPolicy]{
	Needs: func(p *v1alpha1.SecurityPolicy) (needs []feature.Need) {
		backend := ""
		if through := p.Annotations["through"]; through != "" {
			backend = "source"
			needs = append(needs, feature.Need{Field: backend, Backend: backendsOf(through)})
		}
		switch p.Labels["team"] {
		case "a":
		case "b":
			return append(needs, feature.Need{Field: "module", Fetch: &feature.Fetch{
				URL: "https://modules.test/", Form: "a module", Refresh: time.Hour, Large: true, SHA256: p.Annotations["sha256"],
				Through: backend,
				Check:   func([]byte) error { return errors.New("is not known here") },
			}})
		default:
			return nil
		}
		return append(needs, feature.Need{Field: "list", Optional: p.Annotations["optional"] != "", Fetch: &feature.Fetch{
			URL: "https://lists.test/" + p.Annotations["list"], Form: "a list", MaxBytes: 100, Refresh: time.Hour,
			Through: backend,
			Check: func(content []byte) error {
				if !strings.HasPrefix(string(content), "list") {
					return errors.New("is not a list")
				}
				return nil
			},
		}})
	},
}

// backendsOf are backends such as "Service/auth/idp,Backend//outside", of port 80 if they are Services.
func backendsOf(text string) *feature.Backend {
	b := &feature.Backend{Listed: true}
	for one := range strings.SplitSeq(text, ",") {
		parts, ref := strings.Split(one, "/"), v1alpha1.BackendRef{}
		ref.Name = gwapiv1.ObjectName(parts[2])
		if parts[0] == v1alpha1.KindBackend {
			ref.Group, ref.Kind = ptr[gwapiv1.Group](v1alpha1.GroupName), ptr[gwapiv1.Kind](v1alpha1.KindBackend)
		} else {
			ref.Port = ptr[gwapiv1.PortNumber](80)
		}
		if parts[1] != "" {
			ref.Namespace = ptr(gwapiv1.Namespace(parts[1]))
		}
		b.Refs = append(b.Refs, ref)
	}
	return b
}

// testNeeds are the needs of a policy, and those of the features of tests.
func testNeeds(kind policies.Kind, p policies.Object) []feature.Need {
	needs := kind.Needs(p)
	if security, ok := p.(*v1alpha1.SecurityPolicy); ok {
		needs = append(needs, fetching.Needs(security)...)
	}
	if traffic, ok := p.(*v1alpha1.BackendTrafficPolicy); ok {
		needs = append(needs, presenting.Needs(traffic)...)
	}
	return needs
}

// listed is a SecurityPolicy on the route of protected that needs a list.
func listed(name, list string) *v1alpha1.SecurityPolicy {
	p := &v1alpha1.SecurityPolicy{}
	p.Namespace, p.Name, p.UID, p.Generation = "shop", name, "u", 1
	p.Labels, p.Annotations = map[string]string{"team": "a"}, map[string]string{"list": list}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Group, target.Kind, target.Name = gwapiv1.GroupName, "HTTPRoute", "orders"
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	return p
}

func newFetchingWorld(t *testing.T) *World {
	t.Helper()
	w := newWorld(t)
	w.tables.needs = testNeeds
	for _, o := range decode(t, []byte(strings.TrimSpace(protected))) {
		change(t, w, o, false)
	}
	return w
}

// TestFetchedContentFailsClosed: what needs content is served only with content of the right form. The older content
// remains in use while it cannot be fetched again.
func TestFetchedContentFailsClosed(t *testing.T) {
	w := newFetchingWorld(t)
	policy := listed("p", "one")
	key := fetching.Needs(policy)[0].Fetch.Key()
	if !forwards(t, w, "shop/web") {
		t.Fatal("the route is not served without a policy")
	}
	outcome := change(t, w, policy, false)
	if want := outcome.Fetches[key]; want == nil || want.URL != "https://lists.test/one" {
		t.Fatalf("wanted after the policy was stored: %v", outcome.Fetches)
	}
	for _, step := range []struct {
		what    string
		fetched *Fetched
		served  bool
		message string
	}{
		{"nothing", nil, false, `a list from "https://lists.test/one" has not been fetched yet: wait a moment; until then, what needs it is not served`},
		{
			"another form", &Fetched{Content: []byte("other")}, false,
			`a list from "https://lists.test/one" cannot be fetched (the content is not a list): correct the URL or its server, which is asked again until it works`,
		},
		{
			"a failure", &Fetched{Failure: "it answers 404"}, false,
			`a list from "https://lists.test/one" cannot be fetched (it answers 404): correct the URL or its server, which is asked again until it works`,
		},
		{
			"empty content", &Fetched{Content: []byte{}}, false,
			`a list from "https://lists.test/one" cannot be fetched (the content is not a list): correct the URL or its server, which is asked again until it works`,
		},
		{"a list", &Fetched{Content: []byte("list 1")}, true, ""},
		{"another list", &Fetched{Content: []byte("list 2")}, true, ""},
	} {
		if step.fetched != nil {
			step.fetched.Key = key
			outcome = report(t, w, step.fetched, false)
		}
		if served := forwards(t, w, "shop/web"); served != step.served {
			t.Errorf("with %s the route is served: %t", step.what, served)
		}
		if got := messageOf(outcome, "p"); got != step.message {
			t.Errorf("with %s the policy says %q, want %q", step.what, got, step.message)
		}
	}
	if row, _ := w.tables.policies.Get(w.engine.Read(),
		"SecurityPolicy/shop/p"); string(row.Have.Content["list"]) != "list 2" {
		t.Errorf("the feature has %q", row.Have.Content["list"])
	}
	report(t, w, &Fetched{Key: key}, true)
	if forwards(t, w, "shop/web") {
		t.Error("the route is served after the content is gone")
	}
	optional := listed("p", "one")
	optional.Generation, optional.Annotations["optional"] = 2, "true"
	change(t, w, optional, false)
	if !forwards(t, w, "shop/web") {
		t.Error("the route is not served without content that is optional")
	}
}

// TestLargeContentFailsClosed: what needs large content is served only where this replica has the bytes. The
// translation knows the digest and the size.
func TestLargeContentFailsClosed(t *testing.T) {
	w := newFetchingWorld(t)
	policy := listed("p", "")
	policy.Labels["team"] = "b"
	key := fetching.Needs(policy)[0].Fetch.Key()
	outcome := change(t, w, policy, false)
	if want := outcome.Fetches[key]; want == nil || !want.Large {
		t.Fatalf("wanted after the policy was stored: %v", outcome.Fetches)
	}
	first, second := File{Digest: "sha256:1", Size: 1 << 20}, File{Digest: "sha256:2", Size: 2 << 20}
	const waits = `a module from "https://modules.test/" has not been fetched yet: wait a moment; until then, what needs it is not served`
	for _, step := range []struct {
		what    string
		fetched *Fetched
		has     File
		message string
	}{
		{"nothing", nil, File{}, waits},
		{"bytes that are elsewhere", &Fetched{File: first}, File{}, waits},
		{
			"a failure", &Fetched{File: first, Failure: "it answers 404"},
			File{},
			`a module from "https://modules.test/" cannot be fetched (it answers 404): correct the URL or its server, which is asked again until it works`,
		},
		{"the bytes", &Fetched{File: first, Present: true}, first, ""},
		{"other bytes", &Fetched{File: second, Present: true}, second, ""},
		{"lost bytes", &Fetched{File: second}, File{}, waits},
		{"small content", &Fetched{Content: []byte("list")}, File{}, waits},
	} {
		if step.fetched != nil {
			step.fetched.Key = key
			report(t, w, step.fetched, false)
		}
		if served := forwards(t, w, "shop/web"); served != (step.has != File{}) {
			t.Errorf("with %s the route is served: %t", step.what, served)
		}
		if row, _ := w.tables.policies.Get(w.engine.Read(), "SecurityPolicy/shop/p"); row.Have.Files["module"] != step.has {
			t.Errorf("with %s the feature has %v", step.what, row.Have.Files)
		}
		status, _ := w.tables.policyStatuses.Get(w.engine.Read(), "SecurityPolicy/shop/p")
		if got := messageOf(Outcome{Statuses: []*Status{status}}, "p"); got != step.message {
			t.Errorf("with %s the policy says %q, want %q", step.what, got, step.message)
		}
	}
}

// TestDigestThatIsNone: a digest that nothing can have is Invalid, and nothing is fetched.
func TestDigestThatIsNone(t *testing.T) {
	w := newFetchingWorld(t)
	policy := listed("p", "")
	policy.Labels["team"], policy.Annotations["sha256"] = "b", "abc"
	outcome := change(t, w, policy, false)
	want := `"abc" is not a SHA-256 digest: write the 64 hexadecimal digits that sha256sum prints`
	if got := messageOf(outcome, "p"); got != want || len(outcome.Fetches) > 0 {
		t.Errorf("the policy says %q, want %q; fetched is %v", got, want, outcome.Fetches)
	}
}

// TestEqualFetchesAreOne: several policies that need the same content cause one fetch, which lasts as long as the last
// of them. Content for one policy changes nothing for another.
func TestEqualFetchesAreOne(t *testing.T) {
	w := newFetchingWorld(t)
	first, second, other := listed("first", "one"), listed("second", "one"), listed("other", "two")
	second.Namespace = "sales"
	second.UID, other.UID = "v", "w"
	one, two := fetching.Needs(first)[0].Fetch.Key(), fetching.Needs(other)[0].Fetch.Key()
	if got := change(t, w, first, false).Fetches; len(got) != 1 || got[one] == nil {
		t.Errorf("the first policy wants %v", got)
	}
	if got := change(t, w, second, false).Fetches; len(got) != 1 ||
		!slices.Equal(got[one].Namespaces, []string{"sales", "shop"}) {
		t.Errorf("the second policy changes %v", got)
	}
	if got := change(t, w, other, false).Fetches; len(got) != 1 || got[two] == nil {
		t.Errorf("the other policy wants %v", got)
	}
	if got := report(t, w, &Fetched{Key: two, Content: []byte("list")}, false).Statuses; len(got) != 1 ||
		got[0].Object.GetName() != "other" {
		t.Errorf("content for one policy changes the statuses of %v", got)
	}
	if got := change(t, w, first, true).Fetches; len(got) != 1 || !slices.Equal(got[one].Namespaces, []string{"sales"}) {
		t.Errorf("without the first policy %v changes", got)
	}
	moved := listed("second", "two")
	moved.Namespace, moved.UID, moved.Generation = "sales", "v", 2
	got := change(t, w, moved, false).Fetches
	if gone, changed := got[one]; !changed || gone != nil || len(got) != 2 {
		t.Errorf("without a policy that needs it, the fetch is %v", got)
	}
}

// TestURLThatCannotBeFetched: a URL that leads to no web server is Invalid, and not fetched.
func TestURLThatCannotBeFetched(t *testing.T) {
	w := newFetchingWorld(t)
	policy := listed("p", "one#part")
	outcome := change(t, w, policy, false)
	want := `"https://lists.test/one#part" has a fragment, which is never sent to a server: remove #part`
	if got := messageOf(outcome, "p"); got != want || len(outcome.Fetches) > 0 {
		t.Errorf("the policy says %q, want %q; fetched is %v", got, want, outcome.Fetches)
	}
	if forwards(t, w, "shop/web") {
		t.Error("the route is served")
	}
}

// TestTryWantsNothing: a policy that is only tried is told that its content is pending, and nothing is fetched for it.
func TestTryWantsNothing(t *testing.T) {
	w := newFetchingWorld(t)
	findings, err := w.Try(t.Context(), listed("p", "one"))
	if err != nil || len(findings) != 1 || !findings[0].Problem.Pending || findings[0].Problem.Field != "spec.list" {
		t.Errorf("found %v, %v", findings, err)
	}
	if got := change(t, w, listed("q", "two"), false).Fetches; len(got) != 1 {
		t.Errorf("wanted after another policy was stored: %v", got)
	}
}

// report passes what came of a fetch.
func report(t *testing.T, w *World, f *Fetched, deleted bool) Outcome {
	t.Helper()
	outcome, err := w.Apply([]Event{{Fetched: f, Deleted: deleted}})
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// messageOf is the message of the only problem of an object whose status changed.
func messageOf(o Outcome, name string) string {
	for _, s := range o.Statuses {
		if s.Object.GetName() == name && len(s.Problems) == 1 {
			return s.Problems[0].Message
		}
	}
	return ""
}
