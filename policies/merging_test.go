package policies

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// policyOf reads a policy of a kind, with a name in namespace shop.
func policyOf(t testing.TB, kind, name, spec string) Object {
	t.Helper()
	p := kindNamed(kind).New()
	if err := yaml.Unmarshal([]byte("spec: "+spec), p); err != nil {
		t.Fatal(err)
	}
	p.SetNamespace("shop")
	p.SetName(name)
	return p
}

func kindNamed(name string) Kind {
	return Kinds[slices.IndexFunc(Kinds, func(k Kind) bool { return k.Kind == name })]
}

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		kind string
		// specs are those of the policies, the most specific one first.
		specs []string
		want  string
		// owners are the places of the policies that wrote a field.
		owners map[string]int
	}{
		"fields are added": {
			"BackendTrafficPolicy",
			[]string{
				`{mergeType: JSONMerge, timeout: {http: {requestTimeout: 1s}}}`,
				`{timeout: {http: {streamIdleTimeout: 2s}}, retry: {numRetries: 3}}`,
			},
			`{mergeType: JSONMerge, timeout: {http: {requestTimeout: 1s, streamIdleTimeout: 2s}}, retry: {numRetries: 3}}`,
			map[string]int{"spec.timeout": 0, "spec.timeout.http.streamIdleTimeout": 1, "spec.retry.numRetries": 1},
		},
		"of three policies the most specific wins": {
			"BackendTrafficPolicy",
			[]string{
				`{mergeType: StrategicMerge, retry: {numRetries: 1}}`,
				`{mergeType: JSONMerge, retry: {numRetries: 2}, tcpKeepalive: {probes: 2}}`,
				`{retry: {numRetries: 3}, tcpKeepalive: {probes: 3, idleTime: 3s}}`,
			},
			`{mergeType: StrategicMerge, retry: {numRetries: 1}, tcpKeepalive: {probes: 2, idleTime: 3s}}`,
			map[string]int{
				"spec.retry": 0, "spec.tcpKeepalive": 1, "spec.tcpKeepalive.probes": 1,
				"spec.tcpKeepalive.idleTime": 2,
			},
		},
		"lists are replaced, also by empty ones": {
			"SecurityPolicy",
			[]string{
				`{mergeType: StrategicMerge, authorization: {rules: []}, cors: {allowMethods: [GET]}}`,
				`{authorization: {defaultAction: Allow, rules: [{action: Deny, principal: {clientCIDRs: [10.0.0.0/8]}}]}, cors: {allowMethods: [PUT, PATCH]}}`,
			},
			`{mergeType: StrategicMerge, authorization: {rules: [], defaultAction: Allow}, cors: {allowMethods: [GET]}}`,
			map[string]int{"spec.authorization.rules": 0, "spec.authorization.defaultAction": 1},
		},
		"null removes nothing, as the API server drops it": {
			"SecurityPolicy",
			[]string{
				`{mergeType: JSONMerge, basicAuth: null, cors: {maxAge: null}}`,
				`{basicAuth: {users: {name: u}}, cors: {maxAge: 1m}}`,
			},
			`{mergeType: JSONMerge, basicAuth: {users: {name: u}}, cors: {maxAge: 1m}}`,
			map[string]int{"spec.basicAuth.users": 1},
		},
		"targets are not inherited": {
			"SecurityPolicy",
			[]string{
				`{mergeType: JSONMerge, targetRefs: [{group: g, kind: HTTPRoute, name: a}]}`,
				`{mergeType: StrategicMerge, targetSelectors: [{kind: HTTPRoute}]}`,
				`{targetRef: {group: g, kind: Gateway, name: b}, cors: {}}`,
			},
			`{mergeType: JSONMerge, targetRefs: [{group: g, kind: HTTPRoute, name: a}], cors: {}}`,
			map[string]int{"spec.targetRefs[0].name": 0, "spec.cors": 2},
		},
		"a part of a reference makes all of it one's own": {
			"SecurityPolicy",
			[]string{
				`{mergeType: StrategicMerge, basicAuth: {users: {name: mine}}}`,
				`{basicAuth: {users: {name: theirs, namespace: staff}}}`,
			},
			`{mergeType: StrategicMerge, basicAuth: {users: {name: mine, namespace: staff}}}`,
			map[string]int{"spec.basicAuth.users": 0, "spec.basicAuth.users.namespace": 1},
		},
		"only one policy": {"SecurityPolicy", []string{`{cors: {}}`}, `{cors: {}}`, map[string]int{"spec.cors": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var members []Object
			for i, spec := range c.specs {
				members = append(members, policyOf(t, c.kind, string(rune('a'+i)), spec))
			}
			m, err := kindNamed(c.kind).Merge(members)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(withoutText(policyOf(t, c.kind, "a", c.want)), withoutText(m.Policy)); diff != "" {
				t.Errorf("merged (-want +got):\n%s", diff)
			}
			for field, want := range c.owners {
				if got := slices.Index(members, m.Owner(field)); got != want {
					t.Errorf("%s is of %d, want %d", field, got, want)
				}
			}
		})
	}
}

// withoutText removes the text that a policy was read from.
func withoutText(p Object) Object {
	mergingOf(p).Written = nil
	return p
}

func TestCheckMerging(t *testing.T) {
	route := `targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}]`
	for spec, want := range map[string]string{
		`{` + route + `, mergeType: StrategicMerge}`: "",
		`{` + route + `, mergeType: JSONMerge}`:      "",
		`{mergeType: JSONMerge}`:                     "",
		`{` + route + `, mergeType: Replace}`:        `spec.mergeType: "Replace" is not known: write StrategicMerge or JSONMerge, or remove it to replace less specific policies`,
		`{targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: a}, mergeType: JSONMerge}`: "spec.mergeType: a policy with mergeType can only target routes, and this one targets a Gateway: remove that target, or mergeType",
		`{` + route + `, targetSelectors: [{kind: ListenerSet}], mergeType: JSONMerge}`:                 "spec.mergeType: a policy with mergeType can only target routes, and this one targets a ListenerSet: remove that target, or mergeType",
		`{targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: a}}`:                       "",
	} {
		kind := kindNamed("SecurityPolicy")
		p := policyOf(t, kind.Kind, "a", spec)
		var got []string
		for _, problem := range kind.Check(p) {
			got = append(got, problem.String())
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
		if merges := kind.Merges(p); merges != (want == "" && strings.Contains(spec, "mergeType")) {
			t.Errorf("%s: it is merged: %t", spec, merges)
		}
	}
}

// FuzzMergedPolicies merges any two policies of a kind that can be read. The result is as good as one that was written:
// if it passes its check, it passes Envoy's validation rules, and each of its fields is of one of the two.
func FuzzMergedPolicies(f *testing.F) {
	var seeds [][]byte
	for _, g := range goldens(f) {
		seed, err := yaml.YAMLToJSON(g.archive.Files[0].Data)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, seed)
	}
	for i, seed := range seeds {
		f.Add(i%2, seed, seeds[(i+1)%len(seeds)], i%3 == 0)
	}
	f.Fuzz(func(t *testing.T, i int, child, parent []byte, strategic bool) {
		how := v1alpha1.JSONMerge
		if strategic {
			how = v1alpha1.StrategicMerge
		}
		if i < 0 || i >= len(Kinds) || Kinds[i].Unserved {
			return
		}
		kind := Kinds[i]
		var members []Object
		for _, document := range [][]byte{child, parent} {
			p := kind.New()
			if json.Unmarshal(document, p) != nil || len(p.GetUnread()) > 0 {
				return // Broken as they are written, such policies are never merged.
			}
			members = append(members, p)
		}
		mergingOf(members[0]).MergeType = &how
		m, err := kind.Merge(members)
		if err != nil {
			return
		}
		if unread := m.Policy.GetUnread(); len(unread) > 0 {
			t.Errorf("the merged policy has fields that nobody reads: %v", unread)
		}
		problems := kind.Check(m.Policy)
		for _, p := range problems {
			if !slices.Contains(members, m.Owner(p.Field)) {
				t.Errorf("%s is of nobody", p.Field)
			}
		}
		g := golden{kind: kind, policy: m.Policy, have: feature.Have{Content: map[string][]byte{}}}
		cluster, route := g.buildCluster("backend"), g.buildRoute("backend")
		if !verdict.Has(problems, verdict.Invalid) {
			validate(t, cluster)
			validate(t, route)
		}
	})
}
