package translator

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/certificate"
	"gatehouse/policies/feature"
)

// protected is a route that the policies of goldens target.
const protected = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: web}
spec: {gatewayClassName: eg, listeners: [{name: http, protocol: HTTP, port: 80}]}
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
  parentRefs: [{name: web}]
  hostnames: [orders.test]
  rules: [{backendRefs: [{name: orders, port: 80}]}]
`

// TestNeedsFailClosed takes each need of each golden of a policy away, in every way in which it can be missing. Then
// nothing that the policy covers is served, unless the need is optional. The same is true if the policy is merged with
// another one that needs nothing, whichever of the two is on the route.
func TestNeedsFailClosed(t *testing.T) {
	paths, err := filepath.Glob("../policies/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	judged := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		policy, ok := decode(t, archive.Files[0].Data)[0].(policies.Object)
		if !ok {
			continue
		}
		kind := policies.Kinds[kindIndex(policy.GetObjectKind().GroupVersionKind().Kind)]
		given := meeting(archive, kind.Needs(policy))
		for _, need := range kind.Needs(policy) {
			have := content(archive, "have/"+need.Field)
			if len(kind.Check(policy)) > 0 || need.Content != nil && need.Content.Check(have) != nil {
				continue // The golden shows what cannot be served.
			}
			judged++
			for how, attached := range attachments(kind, policy) {
				t.Run(fmt.Sprintf("%s %s %s", strings.TrimPrefix(path, "../policies/"), need.Field, how), func(t *testing.T) {
					failsClosed(t, append(attached, given...), &need, have)
				})
			}
		}
	}
	if judged == 0 {
		t.Error("no golden of a policy has a need")
	}
}

// meeting are the objects that meet the needs of a golden for content and CA certificates.
func meeting(archive *txtar.Archive, needs []feature.Need) (objects []Object) {
	for _, need := range needs {
		have := content(archive, "have/"+need.Field)
		switch {
		case need.Authorities != nil:
			for _, ref := range need.Authorities.Refs {
				objects = append(objects, holding(ref.Kind, "shop", ref.Name, certificate.AuthoritiesKey, have))
			}
		case need.Content != nil:
			objects = append(objects, holding(need.Content.Kind, "shop", need.Content.Name, need.Content.Key, have))
		}
	}
	return objects
}

// holding is a Secret or a ConfigMap with one key.
func holding(kind, namespace, name, key string, value []byte) Object {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	if kind == "ConfigMap" {
		return &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{key: string(value)}}
	}
	return &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{key: value}}
}

func failsClosed(t *testing.T, attached []Object, need *feature.Need, have []byte) {
	w := newWorld(t)
	for _, o := range decode(t, []byte(strings.TrimSpace(protected))) {
		change(t, w, o, false)
	}
	for _, p := range attached {
		change(t, w, p, false)
	}
	var losses func(*feature.Need, []byte) []loss
	switch {
	case need.Content != nil:
		losses = lostContent
	case need.Backend != nil:
		losses = lostBackends
	default:
		t.Skip("TestNeedsFailClosedEverywhere takes away what is needed of every kind")
	}
	if need.Content != nil { // The other needs are met.
		change(t, w, holding(need.Content.Kind, "shop", need.Content.Name, need.Content.Key, have), true)
	}
	for _, step := range losses(need, have) {
		change(t, w, step.object, step.gone)
		if served := forwards(t, w, "shop/web"); served != (step.served || need.Optional) {
			t.Errorf("with %s the route is served: %t", step.what, served)
		}
	}
}

// attachments are a policy on the protected route, alone and merged with another one if the kind has that.
func attachments(kind policies.Kind, policy policies.Object) map[string][]Object {
	if _, merges := policy.(interface{ GetMerging() *v1alpha1.Merging }); !merges {
		return map[string][]Object{"alone": {policy}}
	}
	merged := func(p policies.Object) policies.Object {
		p.(interface{ GetMerging() *v1alpha1.Merging }).GetMerging().MergeType = ptr(v1alpha1.StrategicMerge)
		return p
	}
	on := func(p policies.Object, name, target, targetName string) policies.Object {
		p = p.DeepCopyObject().(policies.Object)
		p.SetNamespace("shop")
		p.SetName(name)
		p.SetUID(types.UID(name))
		*p.GetTargets() = wholeTarget(target, targetName)
		return p
	}
	return map[string][]Object{
		"alone":       {policy},
		"over others": {merged(on(policy, "needs", "HTTPRoute", "orders")), on(kind.New(), "base", "Gateway", "web")},
		"below":       {on(policy, "needs", "Gateway", "web"), merged(on(kind.New(), "over", "HTTPRoute", "orders"))},
	}
}

// loss is a change of what a need asks for, and whether the need has an answer then.
type loss struct {
	what   string
	object Object
	gone   bool
	served bool
}

func lostContent(need *feature.Need, have []byte) []loss {
	secret := func(namespace, key string, value []byte) Object {
		return holding(need.Content.Kind, namespace, need.Content.Name, key, value)
	}
	whole, other := secret("shop", need.Content.Key, have), secret("shop", "other", have)
	if need.Content.Only { // Content under the only key is found, whatever its name is.
		other.(*corev1.ConfigMap).Data["another"] = string(have)
	}
	return []loss{
		{"no object", secret("other", need.Content.Key, have), false, false},
		{"the object", whole, false, true},
		{"another key", other, false, false},
		{"no content", secret("shop", need.Content.Key, nil), false, false},
		{"the object again", whole, false, true},
		{"the object deleted", whole, true, false},
	}
}

// lostBackends takes the backends of a need away one after the other. It has an answer as long as one of them is left.
func lostBackends(need *feature.Need, _ []byte) (losses []loss) {
	refs := slices.DeleteFunc(slices.Clone(need.Backend.Refs),
		func(ref v1alpha1.BackendRef) bool { return ref.Weight != nil && *ref.Weight == 0 })
	each := func(what, namespace string, port int32, gone bool, served func(i int) bool) {
		for i, ref := range refs {
			service := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: string(ref.Name)},
				Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
					{Name: "port", Port: cmp.Or(port, *ref.Port), Protocol: corev1.ProtocolTCP},
				}},
			}
			losses = append(losses, loss{fmt.Sprintf("%s of %s", what, ref.Name), service, gone, served(i)})
		}
	}
	never, always := func(int) bool { return false }, func(int) bool { return true }
	untilLast := func(i int) bool { return i < len(refs)-1 }
	each("no object", "other", 0, false, never)
	each("the object", "shop", 0, false, always)
	each("another port", "shop", 1, false, untilLast)
	each("the object again", "shop", 0, false, always)
	each("the deletion", "shop", 0, true, untilLast)
	return losses
}

func content(archive *txtar.Archive, name string) []byte {
	for _, f := range archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// forwards reports whether a route of a fleet sends requests to a backend.
func forwards(t *testing.T, w *World, fleet string) bool {
	t.Helper()
	for _, r := range w.all(fleet) {
		m, err := r.message()
		if err != nil {
			t.Fatal(err)
		}
		config, ok := m.(*routev3.RouteConfiguration)
		if !ok {
			continue
		}
		for _, host := range config.VirtualHosts {
			for _, route := range host.Routes {
				if route.GetRoute() != nil {
					return true
				}
				if code := route.GetDirectResponse().GetStatus(); code != 500 {
					t.Errorf("route %s answers %d", route.Name, code)
				}
			}
		}
	}
	return false
}

// TestSecretsOfOthersNeedAGrant: a policy may use a Secret of another namespace only if that namespace permits it.
func TestSecretsOfOthersNeedAGrant(t *testing.T) {
	w := newWorld(t)
	archive, err := txtar.ParseFile("../policies/basicauth/users.txtar")
	if err != nil {
		t.Fatal(err)
	}
	policy := strings.Replace(string(archive.Files[0].Data), "namespace: shop, name: people", "namespace: staff, name: people", 1)
	for _, o := range append(decode(t, []byte(strings.TrimSpace(protected))), decode(t, []byte(policy))...) {
		change(t, w, o, false)
	}
	change(t, w, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "staff", Name: "people"},
		Data:       map[string][]byte{".htpasswd": content(archive, "have/basicAuth.users")},
	}, false)
	if forwards(t, w, "shop/web") {
		t.Error("the route is served without a grant")
	}
	grant := &gwapiv1.ReferenceGrant{
		ObjectMeta: metav1.ObjectMeta{Namespace: "staff", Name: "shop", UID: "g", Generation: 1},
		Spec: gwapiv1.ReferenceGrantSpec{
			From: []gwapiv1.ReferenceGrantFrom{{Group: "gateway.envoyproxy.io", Kind: "SecurityPolicy", Namespace: "shop"}},
			To:   []gwapiv1.ReferenceGrantTo{{Kind: "Secret"}},
		},
	}
	change(t, w, grant, false)
	if !forwards(t, w, "shop/web") {
		t.Error("the route is not served with a grant")
	}
	change(t, w, grant, true)
	if forwards(t, w, "shop/web") {
		t.Error("the route is served after the grant was withdrawn")
	}
}
