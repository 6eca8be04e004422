package translator

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// TestNeedsOfRules: a rule that needs what an object has gets it, and is broken without it, unless it can do without.
func TestNeedsOfRules(t *testing.T) {
	const field = "filters[0].credential"
	need := func(name gwapiv1.ObjectName, optional bool) feature.Need {
		return feature.Need{Field: field, Optional: optional, Content: feature.SecretContent(
			&gwapiv1.SecretObjectReference{Name: name}, "token", func(content []byte) error {
				if len(content) == 0 {
					return errors.New("is empty: write the token")
				}
				return nil
			})}
	}
	for name, tc := range map[string]struct {
		need    feature.Need
		content string
		broken  bool
		message string
	}{
		"there": {need: need("there", false), content: "secret"},
		"unusable": {
			need: need("empty", false), broken: true,
			message: `key "token" of Secret shop/empty is empty: write the token`,
		},
		"missing": {
			need: need("absent", false), broken: true,
			message: `no Secret "absent" in namespace "shop": create it or correct the name`,
		},
		"without": {
			need:    need("absent", true),
			message: `no Secret "absent" in namespace "shop": create it or correct the name`,
		},
		"not for one": {
			need: feature.Need{Field: field, Fetch: &feature.Fetch{}}, broken: true,
			message: "what this refers to cannot be looked up here: this is a fault of Gatehouse, please report it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, o := range decode(t, []byte(`apiVersion: v1
kind: Secret
metadata: {name: there, namespace: shop}
data: {token: c2VjcmV0}
---
apiVersion: v1
kind: Secret
metadata: {name: empty, namespace: shop}
data: {token: ""}
`)) {
				change(t, w, o, false)
			}
			rule := &ruleRow{}
			from := referrer{
				Ref:  verdict.Ref{Group: gwapiv1.GroupName, Kind: "HTTPRoute", Namespace: "shop", Name: "orders"},
				kind: &httpRoutes,
			}
			problems := w.tables.meetRule(w.engine.Read(), from, rule, []feature.Need{tc.need})
			if got := string(rule.Have.Content[field]); got != tc.content || rule.Broken != tc.broken {
				t.Errorf("the rule has %q and is broken: %t, want %q and %t", got, rule.Broken, tc.content, tc.broken)
			}
			var messages []string
			for _, p := range problems {
				messages = append(messages, p.Message)
			}
			var want []string
			if tc.message != "" {
				want = append(want, tc.message)
			}
			if diff := cmp.Diff(want, messages); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
