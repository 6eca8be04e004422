package translator

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// rangesPolicy is a policy on the Gateway of benchWorld that allows clients of many ranges.
func rangesPolicy(ranges int, generation int64) *v1alpha1.SecurityPolicy {
	p := &v1alpha1.SecurityPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: "ranges", UID: "ranges",
		Generation: generation,
	}}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Group, target.Kind, target.Name = gwapiv1.GroupName, "Gateway", "g"
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	rule := v1alpha1.AuthorizationRule{Action: v1alpha1.AuthorizationActionAllow, Principal: &v1alpha1.Principal{}}
	for i := range ranges {
		rule.Principal.ClientCIDRs = append(rule.Principal.ClientCIDRs,
			v1alpha1.CIDR(fmt.Sprintf("10.%d.%d.%d/32", generation%250, i>>8, i&255)))
	}
	p.Spec.Authorization = &v1alpha1.Authorization{Rules: []v1alpha1.AuthorizationRule{rule}}
	return p
}

// sizeOf is the length of a resource.
func sizeOf(r *Resource) (size int) {
	for _, piece := range r.Pieces {
		size += len(piece)
	}
	return size
}

// TestPolicyOnGatewayIsSentOnce: a policy on the Gateway makes the route configuration longer by one copy of it,
// however many routes there are, and a change of the policy recomputes no route.
func TestPolicyOnGatewayIsSentOnce(t *testing.T) {
	const ranges = 500
	grown := map[int]int{}
	for _, routes := range []int{100, 1000} {
		q := newQuarantined(t, routes)
		config := Name{typeRoutes, "n/g/http"}
		before := sizeOf(q.latest[config])
		q.take(Event{Object: rangesPolicy(ranges, 1)})
		grown[routes] = sizeOf(q.latest[config]) - before
		p, _ := q.tables.policies.Get(q.engine.Read(), "SecurityPolicy/n/ranges")
		if one := len(encode(p.Route)); grown[routes] < one-10 || grown[routes] > one+10 {
			t.Errorf("%d routes: the route configuration grows by %d bytes, and one copy has %d", routes, grown[routes], one)
		}
		version := q.latest[config].Version
		q.take(Event{Object: rangesPolicy(ranges, 2)})
		if q.latest[config].Version == version {
			t.Error("the change of the policy does not reach the route configuration")
		}
		work := computed(q.World)
		for table, rows := range work {
			if rows > 5 {
				t.Errorf("%d routes: a change of the policy computes %d rows of %s", routes, rows, table)
			}
		}
	}
	if grown[100] != grown[1000] {
		t.Errorf("100 routes grow by %d bytes, 1,000 by %d", grown[100], grown[1000])
	}
}

// TestRefusedFiltersFailWhatThePolicyCovers: if Envoy rejects the filters that a policy has for all routes, the rules
// under the policy answer 500 and say why. Rules under another policy go on, and a changed policy is tried again.
func TestRefusedFiltersFailWhatThePolicyCovers(t *testing.T) {
	q := newQuarantined(t, 3)
	own := rangesPolicy(1, 1)
	own.Name, own.UID = "own", "own"
	own.Spec.TargetRefs[0].Kind, own.Spec.TargetRefs[0].Name = "HTTPRoute", "r2"
	q.take(Event{Object: rangesPolicy(3, 1)}, Event{Object: own})
	shared := func() (hashes []string) {
		for _, p := range q.latest[Name{typeRoutes, "n/g/http"}].Parts() {
			if p.Shared {
				hashes = append(hashes, p.Hash)
			}
		}
		return hashes
	}
	hashes := shared()
	if len(hashes) != 1 {
		t.Fatalf("the route configuration has the filters %v", hashes)
	}
	q.refuse(hashes[0])
	if left := shared(); len(left) > 0 {
		t.Errorf("what Envoy rejected is sent: %v", left)
	}
	if route, _ := q.route("r1/"); route.GetDirectResponse().GetStatus() != 500 {
		t.Errorf("a route under the policy does %v", route.GetAction())
	}
	q.wantProblem("n/r1", "spec.rules[0]")
	if route, _ := q.route("r2/"); route.GetRoute().GetCluster() == "" || len(route.TypedPerFilterConfig) != 1 {
		t.Errorf("a route under another policy does %v with %v", route.GetAction(), route.TypedPerFilterConfig)
	}
	q.take(Event{Object: rangesPolicy(3, 2)})
	if route, _ := q.route("r1/"); route.GetRoute().GetCluster() == "" || len(shared()) != 1 ||
		len(q.status["n/r1"].Problems) > 0 {
		t.Errorf("after a change a route under the policy does %v and says %v", route.GetAction(), q.status["n/r1"].Problems)
	}
}
