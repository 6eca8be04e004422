package policies

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

func TestGoldenFilters(t *testing.T) {
	var got []string
	for _, filter := range Filters() {
		if slices.Contains(got, filter.Name) {
			t.Errorf("%s is the name of two filters, of which a route could configure one only", filter.Name)
		}
		got = append(got, filter.Name)
		validate(t, filter.HTTP())
	}
	const file = "testdata/filters.txt"
	names := strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(names), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), names); diff != "" {
		t.Errorf("another order of filters: make golden rewrites it (-want +got):\n%s", diff)
	}
}

// TestKindsAndFeaturesAgree compares the two lists.
func TestKindsAndFeaturesAgree(t *testing.T) {
	for _, f := range features {
		found := slices.Contains([]string{ruleKind, gatewayKind, v1alpha1.KindHTTPRouteFilter}, f.kind)
		for _, kind := range Kinds {
			found = found || kind.Kind == f.kind
		}
		if !found {
			t.Errorf("feature %s belongs to kind %s, which is not in the table", f.name, f.kind)
		}
	}
	shaping := slices.DeleteFunc(slices.Clone(Kinds), func(k Kind) bool { return !k.ShapesListeners() })
	if len(shaping) != 1 {
		t.Errorf("%d kinds have features of listeners: the translation reads one such kind, and would ignore others",
			len(shaping))
	}
	for _, kind := range Kinds {
		if problems := kind.Check(kind.New()); len(problems) > 0 != kind.Unserved {
			t.Errorf("an empty %s has problems: %v", kind.Kind, problems)
		}
	}
}

func TestWithoutPolicies(t *testing.T) {
	upstream, route := feature.NewUpstream(), &routev3.Route{Action: &routev3.Route_Route{Route: &routev3.RouteAction{}}}
	for _, kind := range Kinds {
		kind.Cluster(nil, feature.Have{}, upstream)
		kind.Route(kind.New(), feature.Have{}, route)
	}
	if got := upstream.Cluster.GetConnectTimeout().AsDuration().String(); got != "1.5s" {
		t.Errorf("connections may take %s, want 1.5s", got)
	}
	lb := upstream.Cluster.GetLoadBalancingPolicy().GetPolicies()
	if len(lb) != 1 || lb[0].GetTypedExtensionConfig().GetName() != "envoy.load_balancing_policies.least_request" {
		t.Errorf("got load balancing %v, want least_request", lb)
	}
	if n := proto.Size(route.GetRoute()); n > 0 || len(route.GetTypedPerFilterConfig()) > 0 {
		t.Errorf("something is set on the route: %v", route)
	}
}

func TestShapesCluster(t *testing.T) {
	tests := map[string]struct {
		spec             string
		shapes, together bool
	}{
		"nothing":        {"{}", false, false},
		"route settings": {"{retry: {}, timeout: {http: {requestTimeout: 5s, streamIdleTimeout: 1m}}}", false, false},
		"the defaults": {
			"{timeout: {tcp: {connectTimeout: 1500ms}}, loadBalancer: {type: LeastRequest}}", false,
			false,
		},
		"no retry":             {"{retry: {numRetries: 0}}", true, false},
		"connect timeout":      {"{timeout: {tcp: {connectTimeout: 3s}}}", true, false},
		"idle connections":     {"{timeout: {http: {connectionIdleTimeout: 3s}}}", true, false},
		"another algorithm":    {"{loadBalancer: {type: Random}}", true, false},
		"hashing":              {"{loadBalancer: {type: ConsistentHash, consistentHash: {type: SourceIP}}}", true, true},
		"what does not parse":  {"{timeout: {tcp: {connectTimeout: soon}}}", false, false},
		"an unknown algorithm": {"{loadBalancer: {type: Guess}}", true, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p := policy(t, tc.spec)
			if got := Kinds[0].ShapesCluster(p, feature.Have{}); got != tc.shapes {
				t.Errorf("shapes clusters: %t, want %t", got, tc.shapes)
			}
			if got := Kinds[0].Traits(p).Together; got != tc.together {
				t.Errorf("needs backends together: %t, want %t", got, tc.together)
			}
		})
	}
}

// TestSettingsAreDeterministic encodes a cookie's attributes, which are a map, and all other settings often enough to
// detect a random order.
func TestSettingsAreDeterministic(t *testing.T) {
	for _, g := range goldens(t) {
		var cluster, route []byte
		for range 20 {
			upstream := feature.NewUpstream()
			g.kind.Cluster(g.policy, g.have, upstream)
			encodedRoute := feature.Encode(g.buildRoute("backend"))
			if cluster != nil && (!bytes.Equal(cluster, Settings(upstream)) || !bytes.Equal(route, encodedRoute)) {
				t.Fatalf("%s: equal policies give different bytes", g.path)
			}
			cluster, route = Settings(upstream), encodedRoute
		}
	}
}

// TestProblemsAreOneLine checks that every denial has the form of all messages.
func TestProblemsAreOneLine(t *testing.T) {
	for _, g := range goldens(t) {
		for _, p := range g.kind.Check(g.policy) {
			switch {
			case !strings.HasPrefix(p.Field, "spec."):
				t.Errorf("%s: field %q does not begin at spec", g.path, p.Field)
			case strings.Contains(p.Message, "\n") || p.Message == "":
				t.Errorf("%s: message %q is not one line", g.path, p.Message)
			case p.Condition == feature.ConditionFields && p.Weight == verdict.Unresolved:
			case p.Weight != verdict.Invalid || p.Reason != "Invalid":
				t.Errorf("%s: %s has weight %s and reason %q", g.path, p.Field, p.Weight, p.Reason)
			}
		}
	}
}
