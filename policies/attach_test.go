package policies

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// policy reads a BackendTrafficPolicy shop/orders with this spec.
func policy(t testing.TB, spec string) *v1alpha1.BackendTrafficPolicy {
	t.Helper()
	p := &v1alpha1.BackendTrafficPolicy{}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	p.Namespace, p.Name = "shop", "orders"
	return p
}

// lines are problems in the form that users read, after their weight.
func lines(problems []verdict.Problem) []string {
	var text []string
	for _, p := range problems {
		text = append(text, p.Weight.String()+" "+p.Reason+" "+p.String())
	}
	return text
}

func TestReferences(t *testing.T) {
	type reference struct {
		Target   Target
		Field    string
		Problems []string
	}
	tests := map[string]struct {
		spec string
		want []reference
	}{
		"none": {spec: `targetSelectors: [{kind: HTTPRoute}]`},
		"several, with sections": {
			spec: `targetRefs:
- {group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: https}
- {group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}`,
			want: []reference{
				{Target: Target{"Gateway", "shop", "edge", "https"}, Field: "spec.targetRefs[0]"},
				{Target: Target{"HTTPRoute", "shop", "orders", ""}, Field: "spec.targetRefs[1]"},
			},
		},
		"targetRef hides targetRefs": {
			spec: `targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}]`,
			want: []reference{{Target: Target{"Gateway", "shop", "edge", ""}, Field: "spec.targetRef"}},
		},
		"the same one twice": {
			spec: `targetRefs:
- {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
- {group: gateway.networking.k8s.io, kind: Gateway, name: edge}`,
			want: []reference{{Target: Target{"Gateway", "shop", "edge", ""}, Field: "spec.targetRefs[0]"}},
		},
		"a kind that nobody serves": {
			spec: `targetRefs: [{group: gateway.networking.k8s.io, kind: MeshRoute, name: orders}]`,
			want: []reference{{
				Target: Target{"MeshRoute", "shop", "orders", ""}, Field: "spec.targetRefs[0]",
				Problems: []string{`Unresolved TargetNotFound spec.targetRefs[0].kind: "MeshRoute" of group "gateway.networking.k8s.io" cannot be a target of a BackendTrafficPolicy, so it has no effect there: write Gateway, ListenerSet, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute`},
			}},
		},
		"another group, no name": {
			spec: `targetRefs: [{group: apps, kind: Deployment, name: ""}]`,
			want: []reference{{
				Target: Target{"Deployment", "shop", "", ""}, Field: "spec.targetRefs[0]",
				Problems: []string{
					`Invalid Invalid spec.targetRefs[0].name: the name is empty: write the name of the Deployment`,
					`Invalid Invalid spec.targetRefs[0].group: group "apps" cannot be targeted: write gateway.networking.k8s.io`,
				},
			}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []reference
			for _, r := range References(Kinds[0], policy(t, tc.spec)) {
				got = append(got, reference{r.Target, r.Field, lines(r.Problems)})
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	route := Reference{Target: Target{"HTTPRoute", "shop", "orders", "read"}, Field: "spec.targetRefs[0]"}
	gateway := Reference{Target: Target{"Gateway", "shop", "edge", "https"}, Field: "spec.targetRef"}
	missing := TargetNotFound(route)
	if diff := cmp.Diff(&verdict.Ref{
		Group: "gateway.networking.k8s.io", Kind: "HTTPRoute", Namespace: "shop",
		Name: "orders",
	}, missing.Missing); diff != "" {
		t.Errorf("what is missing (-want +got):\n%s", diff)
	}
	got := lines([]verdict.Problem{
		missing,
		SectionNotFound(Kinds[0], route, nil),
		SectionNotFound(Kinds[0], route, []string{"", ""}),
		SectionNotFound(Kinds[0], route, []string{"", "write"}),
		SectionNotFound(Kinds[0], gateway, []string{"http", "tls"}),
	})
	want := []string{
		`Unresolved TargetNotFound spec.targetRefs[0].name: no HTTPRoute "orders" in namespace "shop": create it or correct the name`,
		`Unresolved TargetNotFound spec.targetRefs[0].sectionName: HTTPRoute "orders" has no rule "read": name a rule so, or leave sectionName out for the whole HTTPRoute`,
		`Unresolved TargetNotFound spec.targetRefs[0].sectionName: HTTPRoute "orders" has no rule "read": name a rule so, or leave sectionName out for the whole HTTPRoute`,
		`Unresolved TargetNotFound spec.targetRefs[0].sectionName: HTTPRoute "orders" has no rule "read": write "write", or leave sectionName out for the whole HTTPRoute`,
		`Unresolved TargetNotFound spec.targetRef.sectionName: Gateway "edge" has no listener "https": write "http" or "tls", or leave sectionName out for the whole Gateway`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSelectorMatches(t *testing.T) {
	labels := map[string]string{"app": "orders", "tier": "web"}
	team := map[string]string{"team": "shop"}
	tests := map[string]struct {
		selector                   string
		sameNamespace, other, team bool
	}{
		"all of the kind":           {`{kind: HTTPRoute}`, true, false, false},
		"another kind":              {`{kind: Gateway}`, false, false, false},
		"labels":                    {`{kind: HTTPRoute, matchLabels: {app: orders}}`, true, false, false},
		"other labels":              {`{kind: HTTPRoute, matchLabels: {app: orders, tier: db}}`, false, false, false},
		"expressions":               {`{kind: HTTPRoute, matchExpressions: [{key: app, operator: In, values: [orders]}, {key: canary, operator: DoesNotExist}]}`, true, false, false},
		"expressions and labels":    {`{kind: HTTPRoute, matchLabels: {app: orders}, matchExpressions: [{key: tier, operator: NotIn, values: [web]}]}`, false, false, false},
		"same namespace":            {`{kind: HTTPRoute, namespaces: {from: Same}}`, true, false, false},
		"all namespaces":            {`{kind: HTTPRoute, namespaces: {from: All}}`, true, true, true},
		"namespaces by label":       {`{kind: HTTPRoute, namespaces: {from: Selector, selector: {matchLabels: {team: shop}}}}`, false, false, true},
		"namespaces without from":   {`{kind: HTTPRoute, namespaces: {}}`, true, false, false},
		"every namespace, by label": {`{kind: HTTPRoute, namespaces: {from: Selector, selector: {}}}`, true, true, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			selectors, problems := Selectors(Kinds[0], policy(t, "targetSelectors: ["+tc.selector+"]"))
			if len(problems) > 0 || len(selectors) != 1 {
				t.Fatalf("got %d selectors and %v", len(selectors), problems)
			}
			s := selectors[0]
			got := []bool{
				s.Matches("HTTPRoute", "shop", labels, nil),
				s.Matches("HTTPRoute", "cellar", labels, nil),
				s.Matches("HTTPRoute", "cellar", labels, team),
			}
			if diff := cmp.Diff([]bool{tc.sameNamespace, tc.other, tc.team}, got); diff != "" {
				t.Errorf("own namespace, another, another of the team (-want +got):\n%s", diff)
			}
			if s.NeedsGrant("shop") || !s.NeedsGrant("cellar") {
				t.Error("a grant is needed in other namespaces only")
			}
		})
	}
}

// TestSelectorLabels: objects are looked up by the labels that a selector requires; requirements that values of labels
// cannot express are not among these.
func TestSelectorLabels(t *testing.T) {
	for selector, want := range map[string][][]string{
		`{kind: HTTPRoute}`: nil,
		`{kind: HTTPRoute, matchLabels: {app: orders, tier: web}}`:                                                                  {{"app=orders"}, {"tier=web"}},
		`{kind: HTTPRoute, matchExpressions: [{key: app, operator: In, values: [orders, carts]}, {key: tier, operator: Exists}]}`:   {{"app=carts", "app=orders"}},
		`{kind: HTTPRoute, matchExpressions: [{key: app, operator: NotIn, values: [orders]}, {key: tier, operator: DoesNotExist}]}`: nil,
	} {
		selectors, problems := Selectors(Kinds[0], policy(t, "targetSelectors: ["+selector+"]"))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if diff := cmp.Diff(want, selectors[0].Labels()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", selector, diff)
		}
	}
}

func TestSelectorProblems(t *testing.T) {
	selectors, problems := Selectors(Kinds[1], policy(t, `targetSelectors:
- {kind: HTTPRoute, matchLabels: {"a b": x}}
- {kind: HTTPRoute, matchExpressions: [{key: app, operator: Is, values: [x]}]}
- {kind: HTTPRoute, namespaces: {from: Selector}}
- {kind: HTTPRoute, namespaces: {from: Some}}
- {kind: HTTPRoute, namespaces: {from: Selector, selector: {matchExpressions: [{key: team, operator: Exists, values: [x]}]}}}
- {kind: UDPRoute}
- {group: apps, kind: HTTPRoute}
- {kind: Gateway}`))
	if len(selectors) != 1 || selectors[0].Field != "spec.targetSelectors[7]" {
		t.Errorf("got %v, want only the last one", selectors)
	}
	want := []string{
		`Invalid Invalid spec.targetSelectors[0]: the labels cannot be matched, key: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'): correct that key, operator or value`,
		`Invalid Invalid spec.targetSelectors[1]: the labels cannot be matched, "Is" is not a valid label selector operator: correct that key, operator or value`,
		`Invalid Invalid spec.targetSelectors[2].namespaces.selector: from is Selector, so a selector must say which namespaces: add it, or write from: Same or from: All`,
		`Invalid Invalid spec.targetSelectors[3].namespaces.from: "Some" is not known: write Same, All or Selector`,
		`Invalid Invalid spec.targetSelectors[4].namespaces.selector: the labels cannot be matched, values: Invalid value: ["x"]: values set must be empty for exists and does not exist: correct that key, operator or value`,
		`Unresolved TargetNotFound spec.targetSelectors[5].kind: "UDPRoute" of group "gateway.networking.k8s.io" cannot be a target of a SecurityPolicy, so it has no effect there: write Gateway, ListenerSet, HTTPRoute, GRPCRoute or TCPRoute`,
		`Invalid Invalid spec.targetSelectors[6].group: group "apps" cannot be targeted: write gateway.networking.k8s.io`,
	}
	if diff := cmp.Diff(want, lines(problems)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// aged is a policy that was created this number of seconds after the first; negative means not created yet.
func aged(namespace, name string, second int) Object {
	p := &v1alpha1.BackendTrafficPolicy{}
	p.Namespace, p.Name = namespace, name
	if second >= 0 {
		p.CreationTimestamp = metav1.NewTime(time.Unix(1700000000+int64(second), 0))
	}
	return p
}

func names(policies []Object) []string {
	var names []string
	for _, p := range policies {
		names = append(names, p.GetNamespace()+"/"+p.GetName())
	}
	return names
}

func TestWinner(t *testing.T) {
	tests := map[string]struct {
		candidates []Object
		want       []string
	}{
		"nobody": {},
		"alone":  {[]Object{aged("shop", "a", 1)}, []string{"shop/a"}},
		"the oldest": {
			[]Object{aged("shop", "a", 2), aged("shop", "b", 1), aged("shop", "c", 3)},
			[]string{"shop/b", "shop/a", "shop/c"},
		},
		"of one second": {
			[]Object{aged("shop", "b", 1), aged("shop", "a", 1), aged("attic", "z", 1)},
			[]string{"attic/z", "shop/a", "shop/b"},
		},
		"not created yet": {
			[]Object{aged("shop", "a", -1), aged("shop", "b", 1)},
			[]string{"shop/b", "shop/a"},
		},
		"the same one, by ref and by selector": {
			[]Object{aged("shop", "b", 2), aged("shop", "a", 1), aged("shop", "b", 2)},
			[]string{"shop/a", "shop/b"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			winner, losers := Winner(tc.candidates)
			var got []string
			if winner != nil {
				got = names(append([]Object{winner}, losers...))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("winner and losers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConflicted(t *testing.T) {
	loser := aged("shop", "new", 2)
	route, listener := Target{"HTTPRoute", "shop", "orders", ""}, Target{"Gateway", "shop", "edge", "https"}
	got := lines([]verdict.Problem{
		Conflicted(Kinds[0], loser, "spec.targetRefs[0]", route, aged("shop", "old", 1)),
		Conflicted(Kinds[0], loser, "spec.targetSelectors[0]", listener, aged("secret", "theirs", 1)),
	})
	want := []string{
		`Conflicted Conflicted spec.targetRefs[0]: HTTPRoute "shop/orders" already has BackendTrafficPolicy "old", which is older and wins: target something else or delete one of the two`,
		`Conflicted Conflicted spec.targetSelectors[0]: listener "https" of Gateway "shop/edge" already has a BackendTrafficPolicy of another namespace, which is older and wins: target something else or delete one of the two`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEffective(t *testing.T) {
	rule, listener := Target{"HTTPRoute", "shop", "orders", "read"}, Target{"Gateway", "infra", "edge", "https"}
	tests := map[string]struct {
		attached map[Target]string // One that begins with + is merged.
		rule     Target
		want     string
	}{
		"none":    {attached: map[Target]string{{"HTTPRoute", "shop", "other", ""}: "shop/x"}, rule: rule},
		"gateway": {attached: map[Target]string{listener.Whole(): "infra/wide"}, rule: rule, want: "infra/wide"},
		"everywhere": {
			attached: map[Target]string{
				rule: "shop/rule", rule.Whole(): "shop/route",
				listener: "infra/listener", listener.Whole(): "infra/gateway",
			},
			rule: rule, want: "shop/rule",
		},
		"a rule without a name": {
			attached: map[Target]string{rule: "shop/rule", rule.Whole(): "shop/route"},
			rule:     rule.Whole(), want: "shop/route",
		},
		"one policy at two places": {
			attached: map[Target]string{
				rule: "shop/a", rule.Whole(): "shop/a", listener: "infra/b",
				listener.Whole(): "infra/b",
			},
			rule: rule, want: "shop/a",
		},
		"merged over the next": {
			attached: map[Target]string{
				rule.Whole(): "+shop/route", listener: "infra/listener",
				listener.Whole(): "infra/gateway",
			},
			rule: rule, want: "+shop/route infra/listener",
		},
		"merged over one that is merged": {
			attached: map[Target]string{rule: "+shop/rule", rule.Whole(): "+shop/route", listener.Whole(): "infra/gateway"},
			rule:     rule, want: "+shop/rule +shop/route infra/gateway",
		},
		"merged over one that is not": {
			attached: map[Target]string{rule: "+shop/rule", rule.Whole(): "shop/route", listener: "infra/listener"},
			rule:     rule, want: "+shop/rule shop/route",
		},
		"merged over nothing": {attached: map[Target]string{rule: "+shop/rule"}, rule: rule, want: "+shop/rule"},
		"merged at two places": {
			attached: map[Target]string{rule: "+shop/a", rule.Whole(): "+shop/a", listener: "infra/b"},
			rule:     rule, want: "+shop/a infra/b",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			at := func(target Target) (string, bool) {
				return tc.attached[target], strings.HasPrefix(tc.attached[target], "+")
			}
			if got := strings.Join(Effective(at, Chain(tc.rule, listener)), " "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestOverridden(t *testing.T) {
	route := func(namespace, name string) Target { return Target{"HTTPRoute", namespace, name, ""} }
	many := []Target{route("cellar", "x")}
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"} {
		many = append(many, route("shop", name))
	}
	tests := map[string]struct {
		at   []Target
		want string
	}{
		"named, sorted, once": {
			[]Target{route("shop", "b"), {"HTTPRoute", "shop", "a", "read"}, route("shop", "b")},
			`a more specific BackendTrafficPolicy takes effect instead on HTTPRoute "shop/b", rule "read" of HTTPRoute "shop/a"`,
		},
		"in another namespace": {
			[]Target{route("shop", "a"), route("cellar", "wine")},
			`a more specific BackendTrafficPolicy takes effect instead on HTTPRoute "shop/a", 1 more`,
		},
		"many": {many, `a more specific BackendTrafficPolicy takes effect instead on HTTPRoute "shop/a", HTTPRoute "shop/b", HTTPRoute "shop/c", HTTPRoute "shop/d", HTTPRoute "shop/e", HTTPRoute "shop/f", HTTPRoute "shop/g", HTTPRoute "shop/h", 2 more`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Overridden(Kinds[0], aged("shop", "wide", 1), tc.at); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}
