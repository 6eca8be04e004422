package policies

import (
	"slices"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// TestHooksGetTheirOwnAnswers: a hook cannot read what its feature has not listed as a need, although another feature
// of the policy has it.
func TestHooksGetTheirOwnAnswers(t *testing.T) {
	have := feature.Have{
		Content:  map[string][]byte{"own": []byte("mine"), "other": []byte("not mine")},
		Clusters: map[string]feature.Cluster{"own": {Name: "mine"}, "other": {Name: "not mine"}},
		Secrets:  map[string]string{"own": "mine", "other": "not mine"},
		Files:    map[string]feature.File{"own": {}, "other": {}},
	}
	own := []feature.Need{{Field: "own"}}
	tests := map[string]struct {
		needs []feature.Need
		want  feature.Have
	}{
		"no needs": {nil, feature.Have{}},
		"one need": {own, have.For(own)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []feature.Have
			f := feature.Feature[v1alpha1.SecurityPolicySpec]{
				Cluster:    func(_ *v1alpha1.SecurityPolicySpec, h feature.Have, _ *feature.Upstream) { got = append(got, h) },
				Route:      func(_ *v1alpha1.SecurityPolicySpec, h feature.Have, _ *feature.Route) { got = append(got, h) },
				Listener:   func(_ *v1alpha1.SecurityPolicySpec, h feature.Have, _ *feature.Listener) { got = append(got, h) },
				Connection: func(_ *v1alpha1.SecurityPolicySpec, h feature.Have, _ *feature.Connection) { got = append(got, h) },
			}
			if tc.needs != nil {
				f.Needs = func(*v1alpha1.SecurityPolicySpec) []feature.Need { return tc.needs }
			}
			b, p := security(f), &v1alpha1.SecurityPolicy{}
			b.cluster(p, have, feature.NewUpstream())
			b.route(p, have, &feature.Route{Route: &routev3.Route{}})
			b.listener(p, have, feature.NewListener())
			b.connection(p, have, &feature.Connection{})
			if len(got) != 4 {
				t.Fatalf("%d hooks were called, want 4", len(got))
			}
			for _, h := range got {
				if !h.Equal(tc.want) {
					t.Errorf("a hook got %v, want %v", h, tc.want)
				}
				names := slices.Concat(keysOf(h.Content), keysOf(h.Clusters), keysOf(h.Secrets), keysOf(h.Files))
				if slices.Contains(names, "other") || len(names) != 4*len(tc.needs) {
					t.Errorf("a hook got the answers %q to %d needs", names, len(tc.needs))
				}
			}
		})
	}
}

func keysOf[V any](answers map[string]V) (keys []string) {
	for key := range answers {
		keys = append(keys, key)
	}
	return keys
}
