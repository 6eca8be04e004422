package infra

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

// wanting is the requirement of a Gateway of that age whose EnvoyProxy names a ServiceAccount.
func wanting(namespace, name, account, way string, age time.Duration) *translator.Requirement {
	req := withProvider(requirementOf(namespace, name), asAccount(account)[way])
	req.Gateway.CreationTimestamp = metav1.NewTime(time.Unix(1e9, 0).Add(-age))
	return req
}

// shared is a ServiceAccount that a user has created.
func (f *fixture) shared(t *testing.T) (name, key string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: f.settings.ControllerNamespace,
		Name:      "shared",
	}}
	if err := f.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	return account.Name, account.Namespace + "/" + account.Name
}

// proven records the accounts with which the fleets authenticate.
func (f *fixture) proven() map[string][]string {
	proven := map[string][]string{}
	f.Proven = func(key string, accounts ...string) {
		if proven[key] = accounts; len(accounts) == 0 {
			delete(proven, key)
		}
	}
	return proven
}

// refused checks that a fleet has no pods because the account belongs to another fleet.
func (f *fixture) refused(t *testing.T, namespace, name, owner string) {
	t.Helper()
	err := f.Reconcile(t.Context(), namespace+"/"+name)
	if !errors.Is(err, errAccount) || !strings.Contains(err.Error(),
		"ServiceAccount "+f.settings.ControllerNamespace+"/shared is that of Gateway "+owner) {
		t.Errorf("the failure is %v", err)
	}
	if now := f.workloads(t, namespace, name); len(now) > 0 {
		t.Errorf("%q run", now)
	}
}

// TestAccountIsOfOneFleet: if two Gateways run their pods as the same account of a user, in any way, the older one has
// it, in whichever order they become known. The other has no pods, and its proxies cannot authenticate with it. When
// the older one gives it up, the other one gets it.
func TestAccountIsOfOneFleet(t *testing.T) {
	for way := range asAccount("") {
		t.Run(way, func(t *testing.T) {
			f := newFixture(t)
			account, key := f.shared(t)
			proven := f.proven()
			f.Set("evil/gw", wanting("evil", "gw", account, way, 0))
			f.Set("shop/web", wanting("shop", "web", account, "name", time.Hour))
			if want := []string{key}; !slices.Equal(proven["shop/web"], want) || slices.Contains(proven["evil/gw"], key) {
				t.Errorf("proven are %q", proven)
			}
			f.refused(t, "evil", "gw", "shop/web")
			if err := f.Reconcile(t.Context(), "shop/web"); err != nil {
				t.Error(err)
			}
			f.refused(t, "evil", "gw", "shop/web")

			f.Set("shop/web", nil)
			if len(proven["shop/web"]) > 0 || slices.Contains(proven["evil/gw"], key) {
				t.Errorf("while its pods run as it still: proven are %q", proven)
			}
			f.refused(t, "evil", "gw", "shop/web")
			if err := f.Reconcile(t.Context(), "shop/web"); err != nil {
				t.Fatal(err)
			}
			f.Changed("shop/web")
			if named := strings.HasPrefix(way, "name"); slices.Contains(proven["evil/gw"], key) != named {
				t.Errorf("when it is free: proven are %q", proven)
			}
			if err := f.Reconcile(t.Context(), "evil/gw"); err != nil || len(f.workloads(t, "evil", "gw")) != 1 {
				t.Errorf("when it is free: %v, %q run", err, f.workloads(t, "evil", "gw"))
			}
		})
	}
}

// TestRunningFleetKeepsItsAccount: an older Gateway that later names the account of a running fleet does not get it,
// also after a restart. If two fleets already run as one account, the fleet of the older Gateway stays.
func TestRunningFleetKeepsItsAccount(t *testing.T) {
	f := newFixture(t)
	account, key := f.shared(t)
	proven := f.proven()
	f.bring(t, "shop/web", wanting("shop", "web", account, "name", 0))
	running := f.workloads(t, "shop", "web")
	f.Set("old/gw", wanting("old", "gw", account, "name", time.Hour))
	f.refused(t, "old", "gw", "shop/web")

	f.Keeper = New(f.Client, f.settings, logr.Discard())
	again := f.proven()
	f.Set("old/gw", wanting("old", "gw", account, "name", time.Hour))
	f.Set("shop/web", wanting("shop", "web", account, "name", 0))
	f.refused(t, "old", "gw", "shop/web")
	if err := f.Reconcile(t.Context(), "shop/web"); err != nil || len(running) != 1 ||
		!slices.Equal(f.workloads(t, "shop", "web"), running) {
		t.Errorf("%v, %q run, and %q did", err, f.workloads(t, "shop", "web"), running)
	}
	if want := map[string][]string{"shop/web": {key}}; !maps.EqualFunc(proven, want, slices.Equal) ||
		!maps.EqualFunc(again, want, slices.Equal) {
		t.Errorf("proven are %q, and after the restart %q", proven, again)
	}

	f.bring(t, "old/gw", func() *translator.Requirement {
		own := requirementOf("old", "gw")
		own.Gateway.CreationTimestamp = metav1.NewTime(time.Unix(1e9, 0).Add(-time.Hour))
		return own
	}())
	deployment := &appsv1.Deployment{}
	if err := f.Get(t.Context(), client.ObjectKey{Namespace: f.settings.ControllerNamespace, Name: Name("old", "gw")},
		deployment); err != nil {
		t.Fatal(err)
	}
	deployment.Spec.Template.Spec.ServiceAccountName, deployment.Spec.Template.Spec.DeprecatedServiceAccount = account,
		account
	if err := f.Update(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	f.Set("old/gw", wanting("old", "gw", account, "name", time.Hour))
	f.refused(t, "shop", "web", "old/gw")
	if err := f.Reconcile(t.Context(), "old/gw"); err != nil || !slices.Equal(again["old/gw"], []string{key}) ||
		len(again["shop/web"]) > 0 {
		t.Errorf("%v, proven are %q", err, again)
	}
}

// TestHeldFleetKeepsItsAccount: a Gateway that currently cannot be served keeps the account that it had.
func TestHeldFleetKeepsItsAccount(t *testing.T) {
	f := newFixture(t)
	account, key := f.shared(t)
	proven := f.proven()
	f.bring(t, "shop/web", wanting("shop", "web", account, "name", 0))
	held := requirement("web")
	held.Hold = true
	f.Set("shop/web", held)
	if !slices.Equal(proven["shop/web"], []string{key}) {
		t.Errorf("proven are %q", proven)
	}
	f.Set("shop/web", requirement("web"))
	if want := f.settings.ControllerNamespace + "/" + Name("shop", "web"); !slices.Equal(proven["shop/web"],
		[]string{want}) {
		t.Errorf("proven are %q, want %s", proven, want)
	}
}
