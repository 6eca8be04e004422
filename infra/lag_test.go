package infra

import (
	"context"
	"errors"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/v1alpha1"
)

// lagging is a client whose lists come from a cache that has seen nothing yet, and whose applies may be stored without
// a response.
type lagging struct {
	client.Client
	mute bool
}

func (l *lagging) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func (l *lagging) Apply(ctx context.Context, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
	if err := l.Client.Apply(ctx, o, opts...); err != nil || !l.mute {
		return err
	}
	return errors.New("the connection is lost")
}

// TestDeletedBeforeTheCacheSawIt: a Gateway that is deleted directly after its creation leaves no objects, although the
// cache does not show the applied objects yet. The same holds for an apply that was stored but whose response was lost.
func TestDeletedBeforeTheCacheSawIt(t *testing.T) {
	for _, mute := range []bool{false, true} {
		f := newFixture(t)
		a := New(&lagging{f.Client, mute}, f.settings, logr.Discard())
		a.Set("shop/web", requirement("web"))
		if err := a.Reconcile(t.Context(), "shop/web"); (err != nil) != mute {
			t.Fatal(err)
		}
		f.expect(t, of(Name("shop", "web"), "ServiceAccount", "ConfigMap", "Deployment", "Service")...)
		a.Set("shop/web", nil)
		if err := a.Reconcile(t.Context(), "shop/web"); err != nil {
			t.Fatal(err)
		}
		f.expect(t)
	}
}

// TestRenamedBeforeTheCacheSawIt: the same holds for objects that are replaced under another name, and objects that
// somebody else creates with the old name stay.
func TestRenamedBeforeTheCacheSawIt(t *testing.T) {
	f := newFixture(t)
	a := New(&lagging{Client: f.Client}, f.settings, logr.Discard())
	first, second := "first", "second"
	for _, name := range []*string{&first, &second} {
		a.Set("shop/web", withProvider(requirement("web"),
			v1alpha1.EnvoyProxyKubernetesProvider{EnvoyDeployment: &v1alpha1.KubernetesDeploymentSpec{Name: name}}))
		if err := a.Reconcile(t.Context(), "shop/web"); err != nil {
			t.Fatal(err)
		}
	}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: f.settings.ControllerNamespace,
		Name:      Name("shop", "web"),
	}}
	if err := f.Delete(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	config.ResourceVersion = ""
	if err := f.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	a.Set("shop/web", nil)
	if err := a.Reconcile(t.Context(), "shop/web"); err != nil {
		t.Fatal(err)
	}
	f.expect(t)
	if err := f.Get(t.Context(), client.ObjectKeyFromObject(config), &corev1.ConfigMap{}); err != nil {
		t.Errorf("a ConfigMap of somebody else's: %v", err)
	}
}
