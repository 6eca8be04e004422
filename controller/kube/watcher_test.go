package kube

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/config"
	"gatehouse/api/v1alpha1"
	"gatehouse/infra/kubetest"
	"gatehouse/translator"
)

var server kubetest.Server

func TestMain(m *testing.M) { kubetest.Run(m, &server, "bin/gateway-api-crds.yaml") }

// seen collects what a Watcher sends.
type seen struct {
	client.Client
	scheme *runtime.Scheme

	mu     sync.Mutex
	events []translator.Event
}

func newSeen(t *testing.T) *seen {
	t.Helper()
	s := &seen{scheme: NewScheme()}
	var err error
	if s.Client, err = client.New(server.Config(t), client.Options{Scheme: s.scheme}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *seen) put(events ...translator.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events...)
}

// cache starts a cache like that of a control plane in the namespace.
func (s *seen) cache(t *testing.T, namespace string) cache.Cache {
	t.Helper()
	options, err := CacheOptions(server.Config(t), namespace, config.DeployControllerNamespace)
	if err != nil {
		t.Fatal(err)
	}
	options.Scheme = s.scheme
	c, err := cache.New(server.Config(t), options)
	if err != nil {
		t.Fatal(err)
	}
	kubetest.Start(t, c.Start)
	return c
}

func (s *seen) watcher(t *testing.T) *Watcher {
	t.Helper()
	served, err := discovery.NewDiscoveryClientForConfig(server.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	return &Watcher{
		Cache: s.cache(t, "gatehouse-system"), Reader: s.Client, Discovery: served, Put: s.put,
		Log: logr.Discard(),
	}
}

// watch starts a Watcher and waits for the first complete list.
func (s *seen) watch(t *testing.T) {
	t.Helper()
	w := s.watcher(t)
	if err := w.Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// last returns the newest event of the object, and whether there is one.
func (s *seen) last(o client.Object) (translator.Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range slices.Backward(s.events) {
		if e.Object != nil && e.Object.GetUID() == o.GetUID() {
			return e, true
		}
	}
	return translator.Event{}, false
}

// await waits until the newest event of the object says that it exists, or was deleted.
func (s *seen) await(t *testing.T, o client.Object, deleted bool) {
	t.Helper()
	for t.Context().Err() == nil {
		if e, found := s.last(o); found && e.Deleted == deleted {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no event of %T %s with deleted %t", o, o.GetName(), deleted)
}

const policyCRD = "gateway.envoyproxy.io_backendtrafficpolicies.yaml"

func install(t *testing.T, file string) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crds, err := envtest.InstallCRDs(server.Config(t), envtest.CRDInstallOptions{
		Paths: []string{filepath.Join("../../manifests/gatehouse-crds/files", file)}, ErrorIfPathMissing: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return crds
}

// uninstall deletes the CRDs and waits until they are gone, and their objects with them.
func (s *seen) uninstall(t *testing.T, crds []*apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	for _, crd := range crds {
		if err := s.Delete(context.Background(), crd); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		for err := error(nil); !apierrors.IsNotFound(err); time.Sleep(10 * time.Millisecond) {
			err = s.Get(context.Background(), client.ObjectKeyFromObject(crd), &apiextensionsv1.CustomResourceDefinition{})
		}
	}
}

func (s *seen) create(t *testing.T, o client.Object) client.Object {
	t.Helper()
	if err := s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Delete(context.Background(), o); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	return o
}

func policy() *v1alpha1.BackendTrafficPolicy {
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "policy-"}}
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
		Group: gwapiv1.GroupName, Kind: "HTTPRoute", Name: "web",
	}}}
	return p
}

// TestKindsComeAndGo: without our CRDs the objects of all other kinds are known at once. A kind that is installed later
// is watched from then on; when it is uninstalled its objects are gone; and it may come again.
func TestKindsComeAndGo(t *testing.T) {
	s := newSeen(t)
	service := s.create(t, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "web-"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	})
	s.watch(t)
	if e, found := s.last(service); !found || e.Deleted {
		t.Error("a Service that existed is not known when Watch returns")
	}
	for range 2 {
		crds := install(t, policyCRD)
		p := s.create(t, policy())
		s.await(t, p, false)
		s.uninstall(t, crds)
		s.await(t, p, true)
	}
}

// serve switches the versions of a CRD on or off, and waits until the API server does so.
func (s *seen) serve(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition, on bool) {
	t.Helper()
	for {
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); err != nil {
			t.Fatal(err)
		}
		for i := range crd.Spec.Versions {
			crd.Spec.Versions[i].Served = on
		}
		err := s.Update(t.Context(), crd)
		if err == nil {
			break
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BackendTrafficPolicyList"))
	for err := error(nil); (err == nil) != on || t.Context().Err() != nil; time.Sleep(10 * time.Millisecond) {
		err = s.List(t.Context(), list)
	}
}

// TestKindThatIsNotServedAnyMoreStays: while a CRD serves no version, its objects count as they were; a control plane
// that starts then waits until they can be read.
func TestKindThatIsNotServedAnyMoreStays(t *testing.T) {
	s := newSeen(t)
	crds := install(t, policyCRD)
	t.Cleanup(func() { s.uninstall(t, crds) })
	p, other := s.create(t, policy()), s.create(t, policy())
	s.watch(t)
	s.await(t, p, false)
	s.serve(t, crds[0], false)
	fresh := newSeen(t)
	started := make(chan struct{})
	w := fresh.watcher(t)
	go func() {
		defer close(started)
		_ = w.Watch(t.Context())
	}()
	time.Sleep(2 * time.Second) // What must not happen would happen at once.
	select {
	case <-started:
		t.Error("a control plane has started without knowing the policies that exist")
	default:
	}
	if e, _ := s.last(p); e.Deleted {
		t.Error("the policy counts as deleted")
	}
	s.serve(t, crds[0], true)
	<-started
	if e, found := fresh.last(p); !found || e.Deleted {
		t.Error("the policy is not known after the start")
	}
	if err := s.Delete(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	s.await(t, other, true)
	s.uninstall(t, crds)
	s.await(t, p, true)
}

// TestServedKindIsWaitedFor: the objects of an optional kind that is installed are known when Watch returns.
func TestServedKindIsWaitedFor(t *testing.T) {
	s := newSeen(t)
	crds := install(t, policyCRD)
	t.Cleanup(func() { s.uninstall(t, crds) })
	p := s.create(t, policy())
	s.watch(t)
	if e, found := s.last(p); !found || e.Deleted {
		t.Error("a policy that existed is not known when Watch returns")
	}
}

// TestEndedWatchForgetsNothing: what was sent is reported as deleted once, and what the informer still tells is not
// sent.
func TestEndedWatchForgetsNothing(t *testing.T) {
	s := &seen{}
	w := &watch{put: s.put, objects: map[client.ObjectKey]translator.Object{}}
	first, second := policy(), policy()
	first.Name, second.Name = "first", "second"
	w.changed(first, false)
	w.changed(second, false)
	w.changed(second, true)
	w.end()
	w.changed(first, false)
	var got []string
	for _, e := range s.events {
		got = append(got, e.Object.GetName()+map[bool]string{true: " deleted", false: ""}[e.Deleted])
	}
	if want := []string{"first", "second", "second deleted", "first deleted"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestDefinitionsOfOurKinds: the names by which our CRDs are looked for are those that they have.
func TestDefinitionsOfOurKinds(t *testing.T) {
	files, err := filepath.Glob("../../manifests/gatehouse-crds/files/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	names := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crd := &metav1.PartialObjectMetadata{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			t.Fatal(err)
		}
		names[crd.Name] = true
	}
	for _, plural := range []string{"clienttrafficpolicies", "envoyextensionpolicies", "envoypatchpolicies"} {
		names[plural+"."+v1alpha1.GroupName] = true // Envoy Gateway's, of kinds that are not served.
	}
	scheme := NewScheme()
	for _, kind := range Kinds() {
		gvk, err := apiutil.GVKForObject(kind.Object, scheme)
		if err != nil {
			t.Fatal(err)
		}
		if name := DefinitionOf(gvk); gvk.Group == v1alpha1.GroupName && !names[name] {
			t.Errorf("kind %s is looked for as CRD %s; there are %v", gvk.Kind, name, names)
		}
	}
}
