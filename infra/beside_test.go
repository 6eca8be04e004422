package infra

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/config"
	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// beside changes the fixture's Keeper to mode GatewayNamespace, and returns a namespace for Gateways.
func (f *fixture) beside(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-"}}
	if err := f.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	f.settings.DeployMode = config.DeployGatewayNamespace
	f.Keeper = New(f.Client, f.settings, logr.Discard())
	return namespace.Name
}

func requirementOf(namespace, name string) *translator.Requirement {
	req := requirement(name)
	req.Gateway.Namespace = namespace
	return req
}

// where lists the objects of a Gateway's fleet as namespace/kind/name.
func (f *fixture) where(t *testing.T, namespace, name string) []string {
	t.Helper()
	found, err := f.list(t.Context(), client.MatchingLabels(envoyproxy.OwnerLabels(namespace, name)))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, o := range found {
		all = append(all, o.GetNamespace()+"/"+nameOf(o).kind+"/"+o.GetName())
	}
	slices.Sort(all)
	return all
}

func in(namespace, name string, kinds ...string) []string {
	var all []string
	for _, object := range of(name, kinds...) {
		all = append(all, namespace+"/"+object)
	}
	return all
}

// TestFleetMovesToItsGateway: after a change of the mode, the fleet is created again in its Gateway's namespace, and
// the old one is removed when the new Envoys are ready.
func TestFleetMovesToItsGateway(t *testing.T) {
	f := newFixture(t)
	controlled := f.Keeper
	shop := f.beside(t)
	key, kinds := shop+"/web", []string{"ConfigMap", "Deployment", "Service", "ServiceAccount"}
	controlled.Set(key, requirementOf(shop, "web"))
	if err := controlled.Reconcile(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	old, moved := in(f.settings.ControllerNamespace, Name(shop, "web"), kinds...), in(shop, "web", kinds...)
	if got := f.where(t, shop, "web"); !slices.Equal(got, old) {
		t.Fatalf("before the move there are %q", got)
	}

	f.bring(t, key, requirementOf(shop, "web"))
	both := slices.Concat(old, moved)
	slices.Sort(both)
	if got := f.where(t, shop, "web"); !slices.Equal(got, both) {
		t.Fatalf("before the new Envoys are ready there are %q, want %q", got, both)
	}
	deployment := &appsv1.Deployment{}
	if err := f.Get(t.Context(), client.ObjectKey{Namespace: shop, Name: "web"}, deployment); err != nil {
		t.Fatal(err)
	}
	if owner := deployment.OwnerReferences; len(owner) != 1 || owner[0].Kind != "Gateway" || owner[0].Name != "web" {
		t.Errorf("the Deployment's owners are %v, want its Gateway", owner)
	}
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: 1, ReadyReplicas: 1,
		AvailableReplicas: 1,
	}
	if err := f.Status().Update(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	if err := f.Reconcile(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if got := f.where(t, shop, "web"); !slices.Equal(got, moved) {
		t.Errorf("after the move there are %q, want %q", got, moved)
	}
	f.bring(t, key, nil)
	if got := f.where(t, shop, "web"); len(got) > 0 {
		t.Errorf("without its Gateway there are %q", got)
	}
}

// TestNameOfTheGatewayIsTaken: a Service of somebody else with the Gateway's name stays as it is, and the Gateway
// reports it.
func TestNameOfTheGatewayIsTaken(t *testing.T) {
	f := newFixture(t)
	shop := f.beside(t)
	foreign := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 8000}}},
	}
	if err := f.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	var told string
	f.Failed = func(_ context.Context, _, why string) { told = why }
	f.Set(shop+"/web", requirementOf(shop, "web"))
	err := f.Reconcile(t.Context(), shop+"/web")
	f.report(t.Context(), shop+"/web", err)
	want := "the name is taken: Service " + shop +
		"/web exists, and was not made for a Gateway: delete it, or choose another name in the EnvoyProxy"
	if !errors.Is(err, errTaken) || told != want {
		t.Errorf("the failure is %v, told as %q", err, told)
	}
	now := &corev1.Service{}
	if err := f.Get(t.Context(), client.ObjectKeyFromObject(foreign), now); err != nil {
		t.Fatal(err)
	}
	if now.ResourceVersion != foreign.ResourceVersion {
		t.Errorf("the Service of somebody else's was written to: %v", now)
	}
	if err := f.Delete(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	err = f.Reconcile(t.Context(), shop+"/web")
	if f.report(t.Context(), shop+"/web", err); err != nil || told != "" {
		t.Errorf("after it was deleted the failure is %v, told as %q", err, told)
	}
}

// TestForeignObjectsAreNotSwept: objects that somebody labels as a fleet of a deleted Gateway, or of a Gateway in
// another namespace, stay.
func TestForeignObjectsAreNotSwept(t *testing.T) {
	f := newFixture(t)
	shop := f.beside(t)
	for _, owner := range []string{"elsewhere", shop} {
		if err := f.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: shop, Name: "of-" + owner, Labels: envoyproxy.OwnerLabels(owner, "gone"),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"elsewhere/gone", shop + "/gone"} {
		if err := f.Reconcile(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	configs := &corev1.ConfigMapList{}
	if err := f.List(t.Context(), configs, client.InNamespace(shop)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range configs.Items {
		names = append(names, c.Name)
	}
	if !slices.Equal(names, []string{"of-elsewhere"}) {
		t.Errorf("ConfigMaps after the sweep: %q, want that of another namespace's Gateway alone", names)
	}
}
