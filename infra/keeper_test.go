package infra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/kubetest"
	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

var server kubetest.Server

func TestMain(m *testing.M) { kubetest.Run(m, &server, "bin/gateway-api-crds.yaml") }

// fixture is a Keeper that works in its own namespace.
type fixture struct {
	client.Client
	*Keeper
	settings Settings
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{Client: server.Indexed(t, Index), settings: testSettings()}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "infra-"}}
	if err := f.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	f.settings.ControllerNamespace = namespace.Name
	f.Keeper = New(f.Client, f.settings, logr.Discard())
	return f
}

func requirement(name string) *translator.Requirement {
	return &translator.Requirement{
		Gateway: &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "gateway-uid"}},
		Ports:   []translator.Port{{Name: "http-80", Port: 80, Target: 10080, Protocol: corev1.ProtocolTCP}},
	}
}

func withProvider(req *translator.Requirement, k v1alpha1.EnvoyProxyKubernetesProvider) *translator.Requirement {
	req.EnvoyProxy = &v1alpha1.EnvoyProxy{Spec: v1alpha1.EnvoyProxySpec{
		Provider: &v1alpha1.EnvoyProxyProvider{Type: v1alpha1.EnvoyProxyProviderTypeKubernetes, Kubernetes: &k},
	}}
	return req
}

func (f *fixture) bring(t *testing.T, key string, req *translator.Requirement) {
	t.Helper()
	f.Set(key, req)
	if err := f.Reconcile(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// fleet lists the objects of all fleets as kind/name, and their versions.
func (f *fixture) fleet(t *testing.T) (names, versions []string) {
	t.Helper()
	found, err := f.list(t.Context(), envoyproxy.ManagedLabels())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range found {
		name := nameOf(o)
		names = append(names, name.kind+"/"+name.name)
		versions = append(versions, name.kind+"/"+name.name+" "+o.GetResourceVersion())
	}
	slices.Sort(names)
	slices.Sort(versions)
	return names, versions
}

func (f *fixture) expect(t *testing.T, want ...string) {
	t.Helper()
	names, _ := f.fleet(t)
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("objects of the fleets (-want +got):\n%s", diff)
	}
}

func of(name string, kinds ...string) []string {
	list := make([]string, 0, len(kinds))
	for _, kind := range kinds {
		list = append(list, kind+"/"+name)
	}
	return list
}

func TestApplyingTwiceWritesOnce(t *testing.T) {
	f := newFixture(t)
	f.bring(t, "shop/web", requirement("web"))
	f.expect(t, of(Name("shop", "web"), "ServiceAccount", "ConfigMap", "Deployment", "Service")...)
	_, before := f.fleet(t)
	f.bring(t, "shop/web", requirement("web"))
	again := New(f.Client, f.settings, logr.Discard())
	again.Set("shop/web", requirement("web"))
	if err := again.Reconcile(t.Context(), "shop/web"); err != nil {
		t.Fatal(err)
	}
	if _, after := f.fleet(t); !slices.Equal(before, after) {
		t.Errorf("applying again, also by a fresh process, changed versions:\n%s", cmp.Diff(before, after))
	}
}

func TestDriftIsRepairedAndTheWorkOfOthersKept(t *testing.T) {
	f := newFixture(t)
	f.bring(t, "shop/web", requirement("web"))
	key := client.ObjectKey{Namespace: f.settings.ControllerNamespace, Name: Name("shop", "web")}
	deployment := &appsv1.Deployment{}
	if err := f.Get(t.Context(), key, deployment); err != nil {
		t.Fatal(err)
	}
	deployment.Spec.Template.Spec.Containers[0].Image = "changed"
	deployment.Annotations = map[string]string{"somebody.else/note": "kept"}
	if err := f.Update(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: key.Namespace,
		Name:      key.Name,
	}}); err != nil {
		t.Fatal(err)
	}
	if err := f.Reconcile(t.Context(), "shop/web"); err != nil {
		t.Fatal(err)
	}
	if err := f.Get(t.Context(), key, deployment); err != nil {
		t.Fatal(err)
	}
	if got := deployment.Spec.Template.Spec.Containers[0].Image; got != f.settings.EnvoyImage {
		t.Errorf("the image is %q, want %q", got, f.settings.EnvoyImage)
	}
	if deployment.Annotations["somebody.else/note"] != "kept" {
		t.Error("an annotation of somebody else's is gone")
	}
	if err := f.Get(t.Context(), key, &corev1.Service{}); err != nil {
		t.Errorf("the Service is not back: %v", err)
	}
}

// TestNewPortKeepsTheEnvoys: a listener on a new port, which a ListenerSet may add at any time, does not replace
// Envoys. Neither does HTTP/3, for which the Service has the number of a port a second time.
func TestNewPortKeepsTheEnvoys(t *testing.T) {
	f := newFixture(t)
	f.bring(t, "shop/web", requirement("web"))
	key := client.ObjectKey{Namespace: f.settings.ControllerNamespace, Name: Name("shop", "web")}
	before, after, service := &appsv1.Deployment{}, &appsv1.Deployment{}, &corev1.Service{}
	if err := f.Get(t.Context(), key, before); err != nil {
		t.Fatal(err)
	}
	more := requirement("web")
	more.Ports = append(more.Ports,
		translator.Port{Name: "https-443", Port: 443, Target: 10443, Protocol: corev1.ProtocolTCP},
		translator.Port{Name: "https-443-h3", Port: 443, Target: 10443, Protocol: corev1.ProtocolUDP})
	f.bring(t, "shop/web", more)
	if err := errors.Join(f.Get(t.Context(), key, after), f.Get(t.Context(), key, service)); err != nil {
		t.Fatal(err)
	}
	if before.Generation != after.Generation {
		t.Errorf("the Deployment was changed:\n%s", cmp.Diff(before.Spec, after.Spec))
	}
	if got := len(service.Spec.Ports); got != 3 {
		t.Errorf("the Service has %d ports, want 3", got)
	}
	tcp, less := service.Spec.Ports[1].NodePort, *more
	less.Ports = more.Ports[:2]
	f.bring(t, "shop/web", &less)
	if err := f.Get(t.Context(), key, service); err != nil {
		t.Fatal(err)
	}
	if got := service.Spec.Ports; len(got) != 2 || got[1].NodePort != tcp {
		t.Errorf("without HTTP/3 the Service has ports %v, want two, and node port %d for TCP", got, tcp)
	}
}

func TestWhatIsNoLongerDesiredGoes(t *testing.T) {
	f := newFixture(t)
	own, front := Name("shop", "web"), "front"
	f.bring(t, "shop/web", requirement("web"))
	f.bring(t, "shop/api", requirement("api"))
	others := of(Name("shop", "api"), "ServiceAccount", "ConfigMap", "Deployment", "Service")

	f.bring(t, "shop/web", withProvider(requirement("web"), v1alpha1.EnvoyProxyKubernetesProvider{
		EnvoyDaemonSet: &v1alpha1.KubernetesDaemonSetSpec{}, EnvoyService: &v1alpha1.KubernetesServiceSpec{Name: &front},
	}))
	all := slices.Concat(of(own, "ServiceAccount", "ConfigMap", "Deployment", "DaemonSet", "Service"),
		of(front, "Service"))
	f.expect(t, append(others, all...)...) // The old Envoys serve until there are new ones.

	set := &appsv1.DaemonSet{}
	if err := f.Get(t.Context(), client.ObjectKey{Namespace: f.settings.ControllerNamespace, Name: own}, set); err != nil {
		t.Fatal(err)
	}
	set.Status = appsv1.DaemonSetStatus{ObservedGeneration: set.Generation, DesiredNumberScheduled: 2, NumberAvailable: 2}
	if err := f.Status().Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if err := f.Reconcile(t.Context(), "shop/web"); err != nil {
		t.Fatal(err)
	}
	f.expect(t, append(others, slices.Concat(of(own, "ServiceAccount", "ConfigMap", "DaemonSet"),
		of(front, "Service"))...)...)

	held := requirement("web")
	held.Hold = true
	f.bring(t, "shop/web", held)
	f.bring(t, "shop/web", &translator.Requirement{Gateway: held.Gateway})
	f.expect(t, append(others, slices.Concat(of(own, "ServiceAccount", "ConfigMap", "DaemonSet"),
		of(front, "Service"))...)...)

	f.bring(t, "shop/web", nil)
	f.expect(t, others...)
}

func TestObjectsOfOthersAreNotTaken(t *testing.T) {
	f := newFixture(t)
	namespace, edge := f.settings.ControllerNamespace, "edge"
	meta := metav1.ObjectMeta{Namespace: namespace, Name: edge}
	for _, o := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: meta},
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}},
	} {
		if err := f.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	provider := v1alpha1.EnvoyProxyKubernetesProvider{
		EnvoyServiceAccount: &v1alpha1.KubernetesServiceAccountSpec{Name: &edge},
		EnvoyDeployment:     &v1alpha1.KubernetesDeploymentSpec{Name: &edge},
	}
	f.bring(t, "shop/web", withProvider(requirement("web"), provider))
	own := Name("shop", "web")
	f.expect(t, slices.Concat(of(edge, "Deployment"), of(own, "ConfigMap", "Service"))...)

	without := provider // Otherwise the account would be reported first.
	without.EnvoyServiceAccount = nil
	f.Set("shop/api", withProvider(requirement("api"), without))
	err := f.Reconcile(t.Context(), "shop/api")
	if want := fmt.Sprintf("the name is taken: Deployment %s/edge belongs to Gateway shop/web: give one of the two another name in its EnvoyProxy", namespace); err == nil || err.Error() != want {
		t.Errorf("a Deployment of another Gateway: %v, want %s", err, want)
	}

	provider.EnvoyService = &v1alpha1.KubernetesServiceSpec{Name: &edge}
	f.Set("shop/web", withProvider(requirement("web"), provider))
	err = f.Reconcile(t.Context(), "shop/web")
	if err == nil || !strings.Contains(err.Error(), "was not made for a Gateway") {
		t.Errorf("a Service of somebody else's: %v", err)
	}
	f.bring(t, "shop/web", nil)
	for _, o := range []client.Object{&corev1.ServiceAccount{}, &corev1.Service{}} {
		if err := f.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: edge}, o); err != nil {
			t.Errorf("%T of somebody else's: %v", o, err)
		}
	}
}

// TestObjectsOfOthersAreNotTakenThroughACache: a cache with only the objects of fleets does not show other objects with
// the same name.
func TestObjectsOfOthersAreNotTakenThroughACache(t *testing.T) {
	f := newFixture(t)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: f.settings.ControllerNamespace,
		Name:      Name("shop", "web"),
	}}
	if err := f.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	a := New(f.cached(t), f.settings, logr.Discard())
	a.Set("shop/web", requirement("web"))
	if err := a.Reconcile(t.Context(), "shop/web"); err == nil ||
		!strings.Contains(err.Error(), "was not made for a Gateway") {
		t.Errorf("a ConfigMap of somebody else's: %v", err)
	}
}

// TestStart runs the Keeper as the manager does: fleets of deleted Gateways are removed, fleets of Gateways without a
// requirement stay, a failing Gateway delays no other, and a new CA reaches all fleets.
func TestStart(t *testing.T) {
	f := newFixture(t)
	f.bring(t, "shop/gone", requirement("gone"))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if err := f.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	kept := &gwapiv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "kept"},
		Spec: gwapiv1.GatewaySpec{GatewayClassName: "eg", Listeners: []gwapiv1.Listener{
			{Name: "http", Port: 80, Protocol: gwapiv1.HTTPProtocolType},
		}},
	}
	if err := f.Create(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	f.bring(t, "shop/kept", requirement("kept"))

	cached := f.cached(t)
	a := New(cached, f.settings, logr.Discard())
	bad := withProvider(requirement("bad"),
		v1alpha1.EnvoyProxyKubernetesProvider{EnvoyService: &v1alpha1.KubernetesServiceSpec{
			LoadBalancerSourceRanges: []string{"nonsense"},
		}})
	var failures sync.Map
	a.Failed = func(_ context.Context, key, why string) { failures.Store(key, why) }
	a.Known = func(context.Context) bool {
		a.Set("shop/bad", bad)
		a.Set("shop/web", requirement("web"))
		return true
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Start(ctx) }()
	want := slices.Concat(
		of(Name("shop", "kept"), "ServiceAccount", "ConfigMap", "Deployment", "Service"),
		of(Name("shop", "web"), "ServiceAccount", "ConfigMap", "Deployment", "Service"),
		of(Name("shop", "bad"), "ServiceAccount", "ConfigMap", "Deployment"),
	)
	slices.Sort(want)
	f.eventually(t, func() string { names, _ := f.fleet(t); return cmp.Diff(want, names) })
	f.eventually(t, func() string {
		why, _ := failures.Load("shop/bad")
		if text, _ := why.(string); !strings.Contains(text, "nonsense") {
			return fmt.Sprintf("the failure of shop/bad is told as %q", text)
		}
		fine, told := failures.Load("shop/web")
		return map[bool]string{false: fmt.Sprintf("shop/web: %v", fine)}[told && fine == ""]
	})

	a.SetCA([]byte("another CA\n"))
	config := &corev1.ConfigMap{}
	f.eventually(t, func() string {
		if err := f.Get(t.Context(), client.ObjectKey{Namespace: f.settings.ControllerNamespace, Name: Name("shop", "web")},
			config); err != nil {
			return err.Error()
		}
		return cmp.Diff("another CA\n", config.Data["ca.crt"])
	})
	if err := f.Delete(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	// The watcher reports a deletion when the cache has it.
	f.eventually(t, func() string {
		if err := cached.Get(t.Context(), client.ObjectKeyFromObject(config),
			&corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("the cache still has the ConfigMap: %v", err)
		}
		return ""
	})
	a.Changed("shop/web")
	f.eventually(t, func() string { names, _ := f.fleet(t); return cmp.Diff(want, names) })

	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the Keeper does not end")
	}
}

// cached is a client like that of the control plane: it reads from caches, which have only the objects of fleets.
func (f *fixture) cached(t *testing.T) client.Client {
	t.Helper()
	fleets := cache.ByObject{Label: labels.SelectorFromSet(envoyproxy.ManagedLabels())}
	c, err := cluster.New(server.Config(t), func(o *cluster.Options) {
		o.Scheme = f.Scheme()
		o.Cache.ByObject = map[client.Object]cache.ByObject{
			&appsv1.Deployment{}: fleets, &appsv1.DaemonSet{}: fleets, &corev1.ConfigMap{}: fleets,
			&corev1.ServiceAccount{}: fleets,
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Index(t.Context(), c.GetFieldIndexer()); err != nil {
		t.Fatal(err)
	}
	kubetest.Start(t, c.Start)
	if !c.GetCache().WaitForCacheSync(t.Context()) {
		t.Fatal("the caches do not fill")
	}
	return c.GetClient()
}

// eventually waits until there is no difference, for at most 10 s.
func (f *fixture) eventually(t *testing.T, difference func() string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = difference(); last == "" {
			return
		}
	}
	t.Fatalf("after 10 s there is still a difference (-want +got):\n%s", last)
}
