package policies

import (
	"encoding/json"
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"gatehouse/policies/verdict"
)

// FuzzPolicies checks the promise of every feature: a spec that passes its check passes Envoy's validation rules, and
// one that does not pass does no harm.
func FuzzPolicies(f *testing.F) {
	for _, g := range goldens(f) {
		seed, err := yaml.YAMLToJSON(g.archive.Files[0].Data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(slices.IndexFunc(Kinds, func(k Kind) bool { return k.Kind == g.kind.Kind }), seed)
	}
	for _, spec := range []string{
		`{"loadBalancer":{"type":"ConsistentHash","consistentHash":{"type":"Headers","headers":[null,{"name":":"}],"tableSize":18446744073709551615}}}`,
		`{"loadBalancer":{"type":"ConsistentHash","consistentHash":{"type":"Cookie","cookie":{"name":"","attributes":{"":"\u0000"}}}}}`,
		`{"loadBalancer":{"type":"ConsistentHash","consistentHash":{"type":"QueryParams","queryParams":[null,{"name":""}]}}}`,
		`{"loadBalancer":{"type":"ConsistentHash","consistentHash":{"type":"Header"}}}`,
		`{"loadBalancer":{"type":"ConsistentHash","consistentHash":{"type":"Body"}}}`,
		`{"loadBalancer":{"type":"ConsistentHash"}}`,
		`{"loadBalancer":{"type":"Random","slowStart":{"window":"1s"}}}`,
		`{"loadBalancer":{"type":"RoundRobin","slowStart":{}}}`,
		`{"retry":{"numRetries":-5,"numAttemptsPerPriority":-1,"retryOn":{"triggers":["",","],"httpStatusCodes":[-1]},"perRetry":{"backOff":{}}}}`,
		`{"authorization":{"defaultAction":"","rules":[{"name":"","action":"Allow","principal":{"clientCIDRs":["0.0.0.0/0"]}},{}]}}`,
		`{"authorization":{"rules":[{"name":"","action":"Allow","principal":{"clientCIDRs":["0.0.0.0/0"]}}]}}`,
		`{"cors":{"allowOrigins":[""],"allowMethods":[""],"maxAge":""}}`,
		`{"targetRef":{},"targetSelectors":[{}]}`,
	} {
		for i := range Kinds {
			f.Add(i, []byte(`{"spec":`+spec+`}`))
		}
	}
	f.Fuzz(func(t *testing.T, i int, document []byte) {
		if i < 0 || i >= len(Kinds) {
			return
		}
		kind := Kinds[i]
		p := kind.New()
		if json.Unmarshal(document, p) != nil {
			return
		}
		problems := kind.Check(p)
		g := golden{kind: kind, policy: p}
		for _, need := range kind.Needs(p) {
			_ = answer(&g.have, &need, document[:len(document)/2]) // It stays without an answer.
		}
		cluster, route := g.buildCluster("backend"), g.buildRoute("backend")
		listener := g.buildListener("listener", &routev3.RouteConfiguration{Name: "routes"})
		_, _ = Selectors(kind, p)
		_ = References(kind, p)
		if !verdict.Has(problems, verdict.Invalid) {
			validate(t, cluster)
			validate(t, route)
			validate(t, listener)
		}
	})
}

// FuzzSelectors checks properties of every selector: a compiled one can be evaluated, and stays in the namespaces that
// it names.
func FuzzSelectors(f *testing.F) {
	f.Add("app", "orders", "team", "Same", "In")
	f.Add("a b", "", "-", "All", "Exists")
	f.Add("app", "x", "", "Selector", "NotIn")
	f.Fuzz(func(t *testing.T, key, value, other, from, operator string) {
		document, err := json.Marshal(map[string]any{"spec": map[string]any{"targetSelectors": []any{map[string]any{
			"kind":             "HTTPRoute",
			"matchLabels":      map[string]string{key: value},
			"matchExpressions": []any{map[string]any{"key": other, "operator": operator, "values": []string{value}}},
			"namespaces": map[string]any{
				"from":     from,
				"selector": map[string]any{"matchLabels": map[string]string{other: value}},
			},
		}}}})
		if err != nil {
			return
		}
		p := Kinds[0].New()
		if err := json.Unmarshal(document, p); err != nil {
			return
		}
		p.SetNamespace("shop")
		selectors, problems := Selectors(Kinds[0], p)
		if len(selectors)+min(len(problems), 1) != 1 {
			t.Fatalf("%d selectors and problems %v, want one or the other", len(selectors), problems)
		}
		for _, s := range selectors {
			labels := map[string]string{key: value, other: value}
			if s.Matches("Gateway", "shop", labels, labels) {
				t.Error("matches another kind")
			}
			if from == "Same" && s.Matches("HTTPRoute", "cellar", labels, labels) {
				t.Error("leaves the namespace")
			}
			if s.Matches("HTTPRoute", "shop", map[string]string{}, labels) {
				t.Error("matches without the label")
			}
			for _, condition := range s.Labels() {
				found := slices.ContainsFunc(condition, func(label string) bool {
					return label == key+"="+value ||
						label == other+"="+value
				})
				if s.Matches("HTTPRoute", "shop", labels, labels) && !found {
					t.Errorf("matches without a label of %q", condition)
				}
			}
		}
	})
}

// FuzzWinner checks that the order of candidates does not matter, and that no candidate is lost.
func FuzzWinner(f *testing.F) {
	f.Add("ab", int8(1), "ba", int8(1), "ab", int8(-1))
	f.Add("", int8(0), "x", int8(3), "y", int8(3))
	f.Fuzz(func(t *testing.T, a string, as int8, b string, bs int8, c string, cs int8) {
		candidates := []Object{aged("shop", a, int(as)), aged("shop", b, int(bs)), aged("cellar", c, int(cs))}
		winner, losers := Winner(candidates)
		want := names(append([]Object{winner}, losers...))
		slices.Reverse(candidates)
		winner, losers = Winner(candidates)
		if diff := cmp.Diff(want, names(append([]Object{winner}, losers...))); diff != "" && a != b {
			t.Errorf("the order of candidates matters:\n%s", diff)
		}
		if len(want) != 3 && a != b {
			t.Errorf("got %v, want all three", want)
		}
	})
}
