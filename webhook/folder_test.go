package webhook

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

// folder is what a user applies: objects of two namespaces that rely on each other. CERT and KEY are of a certificate.
const folder = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: folder}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, namespace: folder-infra, name: settings}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: settings, namespace: folder-infra}
spec: {}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: folder-infra}
spec:
  gatewayClassName: folder
  listeners:
  - {name: http, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: All}}}
  - {name: https, protocol: HTTPS, port: 443, allowedRoutes: {namespaces: {from: All}}, tls: {certificateRefs: [{name: cert}]}}
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: folder-infra}
type: kubernetes.io/tls
data: {tls.crt: CERT, tls.key: KEY}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: routes, namespace: folder-infra}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: folder-shop}]
  to: [{group: "", kind: Service}]
---
apiVersion: v1
kind: Service
metadata: {name: shared, namespace: folder-infra}
spec: {ports: [{port: 3000}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: folder-shop}
spec: {ports: [{port: 3000}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: one, namespace: folder-shop}
spec:
  parentRefs: [{name: edge, namespace: folder-infra}]
  hostnames: [one.example.com]
  rules: [{backendRefs: [{name: echo, port: 3000}, {name: shared, namespace: folder-infra, port: 3000}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: two, namespace: folder-shop}
spec:
  parentRefs: [{name: edge, namespace: folder-infra, sectionName: https}]
  hostnames: [two.example.com]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: outside}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: outside, namespace: folder-shop}
spec: {endpoints: [{fqdn: {hostname: outside.example.com, port: 80}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: people, namespace: folder-shop}
data: {.htpasswd: Zm9vOntTSEF9MkptajdsNXJTdzB5VmIvdmxXQVlrSy9ZQndrPQ==}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: people, namespace: folder-shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: one}]
  basicAuth: {users: {name: people}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: platform, namespace: folder-infra}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  cors: {allowOrigins: ["*"]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: retries, namespace: folder-shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: two}]
  retry: {numRetries: 3}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: clients, namespace: folder-infra}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  timeout: {http: {requestReceivedTimeout: 10s}}
`

// fed are tables that learn of an API server's objects by watches.
type fed struct {
	world *translator.World

	mu       sync.Mutex
	statuses map[string]string
	events   int
}

// feed fills tables from the API server until the test ends.
func (c *cluster) feed(t *testing.T) *fed {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	f := &fed{statuses: map[string]string{}, world: translator.NewWorld(translator.NewTables(translator.Settings{
		ControllerName: "gateway.envoyproxy.io/gatewayclass-controller", EnabledKinds: []string{v1alpha1.KindBackend},
	}, engine))}
	for _, list := range []client.ObjectList{
		&gwapiv1.GatewayClassList{}, &gwapiv1.GatewayList{}, &gwapiv1.HTTPRouteList{}, &gwapiv1.ReferenceGrantList{},
		&corev1.NamespaceList{}, &corev1.ServiceList{}, &corev1.SecretList{}, &discoveryv1.EndpointSliceList{},
		&v1alpha1.EnvoyProxyList{}, &v1alpha1.BackendList{}, &v1alpha1.SecurityPolicyList{},
		&v1alpha1.BackendTrafficPolicyList{}, &v1alpha1.ClientTrafficPolicyList{},
	} {
		w, err := c.client.Watch(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		go func() {
			for e := range w.ResultChan() {
				if o, ok := e.Object.(translator.Object); ok {
					f.learn(t, translator.Event{Object: o, Deleted: e.Type == watch.Deleted})
				}
			}
		}()
	}
	return f
}

func (f *fed) learn(t *testing.T, e translator.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events++
	out, err := f.world.Apply([]translator.Event{e})
	if err != nil {
		t.Error(err)
	}
	for _, s := range out.Statuses {
		desired, err := json.Marshal(s.Desired)
		if err != nil {
			t.Error(err)
		}
		f.statuses[nameOf(s.Object)] = fmt.Sprintf("%v %s", s.Problems, desired)
	}
	for _, o := range out.Forgotten {
		delete(f.statuses, nameOf(o))
	}
}

func nameOf(o translator.Object) string {
	return reflect.TypeOf(o).Elem().Name() + "/" + o.GetNamespace() + "/" + o.GetName()
}

// settled are the statuses when there are enough of them and nothing changes any more.
func (f *fed) settled(t *testing.T, enough func(map[string]string) bool) (statuses map[string]string, events int) {
	t.Helper()
	look := func() (map[string]string, int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return maps.Clone(f.statuses), f.events
	}
	for start := time.Now(); time.Since(start) < 30*time.Second; {
		_, before := look()
		time.Sleep(200 * time.Millisecond)
		if statuses, events = look(); events == before && enough(statuses) {
			return statuses, events
		}
	}
	t.Errorf("the tables do not settle: %v", statuses)
	return statuses, events
}

// ofFolder are the objects of the folder that have statuses, and whether these are all.
func ofFolder(statuses map[string]string) (count int, all bool) {
	for name := range statuses {
		if strings.Contains(name, "/folder") {
			count++
		}
	}
	return count, count == 10
}

// applied is the API server with the webhook on tables that it feeds, and the objects of the folder, those first that
// others rely on.
func applied(t *testing.T) (c *cluster, tables *fed, objects []*unstructured.Unstructured) {
	t.Helper()
	c = realCluster(t)
	c.namespace(t, "folder-infra", nil)
	c.namespace(t, "folder-shop", nil)
	tables = c.feed(t)
	s := serve(t, Options{
		Trier: TrierFunc(func(ctx context.Context, o client.Object) ([]translator.Finding, error) {
			return tables.world.Try(ctx, o)
		}),
		Deletions: TrierFunc(func(ctx context.Context, o client.Object) ([]translator.Finding, error) {
			return tables.world.TryDeletion(ctx, o)
		}),
		Namespaces: c.client, Exists: Live(c.client, c.client.RESTMapper()),
		Access: Reviewed(c.client, c.client.RESTMapper()),
	})
	c.tidy(t, "folder-infra", "folder-shop")
	c.register(t, s, admissionregv1.Fail)
	pair, ca := issue(t, time.Now().Add(time.Hour))
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("CERT", base64.StdEncoding.EncodeToString(ca), "KEY",
		base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))).Replace(folder)
	for _, document := range strings.Split(text, "---\n") {
		objects = append(objects, parsed(t, document))
	}
	order := []string{"EnvoyProxy", "GatewayClass", "Secret", "ReferenceGrant", "Service", "Backend", "Gateway", "HTTPRoute"}
	rank := func(o *unstructured.Unstructured) int {
		if i := slices.Index(order, o.GetKind()); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return rank(a) - rank(b) })
	return c, tables, objects
}

// TestOrderOfApplying applies a folder in random orders to a real API server. Nothing is denied, and the tables come to
// the same statuses. If what others rely on comes first, nothing is warned of either.
func TestOrderOfApplying(t *testing.T) {
	const orders = 20
	c, tables, objects := applied(t)
	user, warnings := c.user(t)
	var want map[string]string
	var warned, silent []time.Duration
	for i := range orders {
		order := slices.Clone(objects)
		if i > 0 {
			rand.New(rand.NewPCG(1, uint64(i))).Shuffle(len(order), func(a, b int) {
				order[a], order[b] = order[b], order[a]
			})
		}
		var names []string
		for _, o := range order {
			warnings.texts = nil
			names = append(names, o.GetKind()+"/"+o.GetName())
			start := time.Now()
			if err := user.Create(t.Context(), o.DeepCopy()); err != nil {
				t.Fatalf("in the order %v: %v", names, err)
			}
			if took := time.Since(start); len(warnings.texts) > 0 {
				warned = append(warned, took)
			} else {
				silent = append(silent, took)
			}
			if i == 0 && len(warnings.texts) > 0 {
				t.Errorf("what is applied first is warned of at %s: %v", o.GetName(), warnings.texts)
			}
		}
		got, _ := tables.settled(t, func(s map[string]string) bool { _, all := ofFolder(s); return all })
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the order %v comes to something else (-want +got):\n%s", names, diff)
		}
		c.empty(t, "folder-infra", "folder-shop")
		tables.settled(t, func(s map[string]string) bool { count, _ := ofFolder(s); return count == 0 })
	}
	for name, status := range want {
		if strings.Contains(name, "/folder") && !strings.HasPrefix(status, "[] ") {
			t.Errorf("%s has problems: %s", name, status)
		}
	}
	slices.Sort(warned)
	slices.Sort(silent)
	t.Logf("%d applies with something missing, half of them within %s; %d without, half of them within %s",
		len(warned), warned[len(warned)/2], len(silent), silent[len(silent)/2])
}

// TestDryRun checks that a server-side dry run is judged and changes nothing: no object, and no table.
func TestDryRun(t *testing.T) {
	c, tables, objects := applied(t)
	user, warnings := c.user(t)
	for _, o := range objects {
		if err := user.Create(t.Context(), o.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	want, events := tables.settled(t, func(s map[string]string) bool { _, all := ofFolder(s); return all })
	warnings.texts = nil
	for _, o := range objects {
		if err := user.Delete(t.Context(), o, client.DryRunAll); err != nil {
			t.Error(err)
		}
	}
	isGateway := func(o *unstructured.Unstructured) bool { return o.GetKind() == "Gateway" }
	gateway := objects[slices.IndexFunc(objects, isGateway)]
	stored := gateway.DeepCopy()
	if err := user.Get(t.Context(), client.ObjectKeyFromObject(stored), stored); err != nil {
		t.Fatal(err)
	}
	listeners, _, _ := unstructured.NestedSlice(stored.Object, "spec", "listeners")
	if err := unstructured.SetNestedSlice(stored.Object, listeners[:1], "spec", "listeners"); err != nil {
		t.Fatal(err)
	}
	if err := user.Update(t.Context(), stored, client.DryRunAll); err != nil {
		t.Error(err)
	}
	broken := routeOf(t, "dry", "(", "gone")
	parents := []any{map[string]any{"name": "edge", "namespace": "folder-infra"}}
	if err := unstructured.SetNestedSlice(broken.Object, parents, "spec", "parentRefs"); err != nil {
		t.Fatal(err)
	}
	if err := user.Create(t.Context(), broken, client.DryRunAll); !apierrors.IsInvalid(err) {
		t.Errorf("what can never work, as a dry run: %v", err)
	}
	for _, part := range []string{
		"with this, 2 HTTPRoutes of other namespaces (folder-shop/one, folder-shop/two) would lose their listener (NoMatchingParent)",
		"HTTPRoute/folder-shop/two spec.parentRefs[0].sectionName: Gateway folder-infra/edge has no listener",
	} {
		if !slices.ContainsFunc(warnings.texts, func(w string) bool { return strings.Contains(w, part) }) {
			t.Errorf("%q is not among the warnings %q", part, warnings.texts)
		}
	}
	got, now := tables.settled(t, func(map[string]string) bool { return true })
	if diff := cmp.Diff(want, got); diff != "" || now != events {
		t.Errorf("%d events became %d (-want +got):\n%s", events, now, diff)
	}
}
