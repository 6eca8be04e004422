package translator

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// basedInfra is a route of one namespace on a Gateway of another one, whose policy needs a Secret of a third.
const basedInfra = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: infra, name: web}
spec: {gatewayClassName: eg, listeners: [{name: http, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: All}}}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: orders}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: shop, name: orders}
spec:
  parentRefs: [{name: web, namespace: infra}]
  hostnames: [orders.test]
  rules: [{backendRefs: [{name: orders, port: 80}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {namespace: infra, name: base}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]
  basicAuth: {users: {name: people, namespace: staff}}`

// usersSecret has a user, for a basicAuth.
func usersSecret(namespace, name string) Object {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string][]byte{".htpasswd": []byte("alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")},
	}
}

// secretsGrant lets SecurityPolicies of a namespace use the Secrets of namespace staff.
func secretsGrant(from string) Object {
	return &gwapiv1.ReferenceGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: "staff", Name: from, UID: types.UID(from), Generation: 1},
		Spec: gwapiv1.ReferenceGrantSpec{
			From: []gwapiv1.ReferenceGrantFrom{{
				Group: "gateway.envoyproxy.io", Kind: "SecurityPolicy",
				Namespace: gwapiv1.Namespace(from),
			}},
			To: []gwapiv1.ReferenceGrantTo{{Kind: "Secret"}},
		},
	}
}

// TestGrantsOfMergedPolicies: a Secret that the policy of the Gateway refers to is used with the grants of that
// policy's namespace, whatever is merged over it. Whoever changes a part of the reference needs a grant for its own
// namespace.
func TestGrantsOfMergedPolicies(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		// grants are the namespaces that may use the Secrets, one after the other, and served reports whether the route
		// is served.
		grants []string
		served []bool
		own    bool // A Secret is also in the namespace of the route.
	}{
		"another part": {
			policy: `cors: {allowOrigins: ["https://a.example"]}`, grants: []string{"shop", "infra"},
			served: []bool{false, true},
		},
		"another field of the part": {
			policy: `basicAuth: {forwardUsernameHeader: x-user}`, grants: []string{"shop", "infra"}, served: []bool{false, true},
		},
		"another name": {
			policy: `basicAuth: {users: {name: others}}`, grants: []string{"infra", "shop"}, served: []bool{false, true},
		},
		"another namespace": {
			policy: `basicAuth: {users: {namespace: shop}}`, grants: []string{"infra"}, served: []bool{true}, own: true,
		},
	} {
		for _, how := range []v1alpha1.MergeType{v1alpha1.StrategicMerge, v1alpha1.JSONMerge} {
			t.Run(fmt.Sprint(name, " ", how), func(t *testing.T) {
				w := newWorld(t)
				policy := fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {namespace: shop, name: orders}
spec:
  mergeType: %s
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}]
  %s`, how, c.policy)
				for _, o := range decode(t, []byte(basedInfra+policy)) {
					change(t, w, o, false)
				}
				change(t, w, usersSecret("staff", "people"), false)
				change(t, w, usersSecret("staff", "others"), false)
				if c.own {
					change(t, w, usersSecret("shop", "people"), false)
				}
				if forwards(t, w, "infra/web") {
					t.Error("the route is served without a grant")
				}
				for i, from := range c.grants {
					change(t, w, secretsGrant(from), false)
					if got := forwards(t, w, "infra/web"); got != c.served[i] {
						t.Errorf("with a grant for %v the route is served: %t", c.grants[:i+1], got)
					}
				}
				if !c.own {
					change(t, w, secretsGrant(c.grants[len(c.grants)-1]), true)
					if forwards(t, w, "infra/web") {
						t.Error("the route is served after the grant was withdrawn")
					}
				}
			})
		}
	}
}

// mergedRanges is a policy that is merged over that of the Gateway of benchWorld, on some of its routes.
func mergedRanges(name string, generation int64, routes ...int) *v1alpha1.SecurityPolicy {
	p := &v1alpha1.SecurityPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID(name),
		Generation: generation,
	}}
	how := v1alpha1.StrategicMerge
	p.Spec.MergeType = &how
	for _, i := range routes {
		target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
		target.Group, target.Kind, target.Name = gwapiv1.GroupName, "HTTPRoute", gwapiv1.ObjectName(fmt.Sprintf("r%d", i))
		p.Spec.TargetRefs = append(p.Spec.TargetRefs, target)
	}
	p.Spec.CORS = &v1alpha1.CORS{AllowOrigins: []v1alpha1.Origin{v1alpha1.Origin(fmt.Sprintf("https://%d.example.com",
		generation))}}
	return p
}

// TestCombinationsAreMergedOnce: routes with the same policies share what these are merged into. It is computed again
// if one of the policies changes, and not if another route comes to have them. Routes that do not have it stay as they
// are.
func TestCombinationsAreMergedOnce(t *testing.T) {
	w := benchWorld(t, 200)
	few, many := []int{1, 2, 3}, []int{10, 11, 12, 13, 14, 15, 16}
	if _, err := w.Apply([]Event{
		{Object: rangesPolicy(5, 1)},
		{Object: mergedRanges("few", 1, few...)},
		{Object: mergedRanges("many", 1, many...)},
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name             string
		object           Object
		merged, bindings int
	}{
		{"the policy of the Gateway", rangesPolicy(5, 2), 2, len(few) + len(many)},
		{"the policy of few routes", mergedRanges("few", 2, few...), 1, len(few)},
		{"the policy of many routes", mergedRanges("many", 2, many...), 1, len(many)},
		{"a route without a merged policy", benchRoute(50, 2), 0, 1},
		{"a route with one", benchRoute(11, 2), 0, 1},
		{"a new route without one", benchRoute(5000, 1), 0, 1},
		{"a Secret of nobody", usersSecret("n", "nobody"), 0, 0},
	} {
		if _, err := w.Apply([]Event{{Object: c.object}}); err != nil {
			t.Fatal(err)
		}
		work := computed(w)
		if work["merged policies"] != c.merged || work["bindings"] != c.bindings {
			t.Errorf("%s: %d policies are merged, want %d; %d bindings are computed, want %d",
				c.name, work["merged policies"], c.merged, work["bindings"], c.bindings)
		}
	}
	if _, err := w.Apply([]Event{{Object: benchRoute(10, 1), Deleted: true}}); err != nil ||
		computed(w)["merged policies"] != 0 {
		t.Errorf("a route that goes: %d policies are merged, %v", computed(w)["merged policies"], err)
	}
	if _, err := w.Apply([]Event{
		{Object: mergedRanges("few", 2), Deleted: true},
		{Object: mergedRanges("many", 2), Deleted: true},
	}); err != nil {
		t.Fatal(err)
	}
	if left := w.tables.mergedPolicies.All(w.engine.Read()); len(left) > 0 {
		t.Errorf("%d merged policies are left", len(left))
	}
}
