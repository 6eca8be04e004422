package infra

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/envoyproxy"
)

// asAccount are the ways in which an EnvoyProxy may choose the ServiceAccount of its pods.
func asAccount(account string) map[string]v1alpha1.EnvoyProxyKubernetesProvider {
	patch := func(field string) *v1alpha1.KubernetesPatchSpec {
		return &v1alpha1.KubernetesPatchSpec{Value: apiextensionsv1.JSON{
			Raw: fmt.Appendf(nil, `{"spec":{"template":{"spec":{%s}}}}`, field),
		}}
	}
	return map[string]v1alpha1.EnvoyProxyKubernetesProvider{
		"name": {EnvoyServiceAccount: &v1alpha1.KubernetesServiceAccountSpec{Name: &account}},
		"name and DaemonSet": {
			EnvoyServiceAccount: &v1alpha1.KubernetesServiceAccountSpec{Name: &account},
			EnvoyDaemonSet:      &v1alpha1.KubernetesDaemonSetSpec{},
		},
		"patch": {EnvoyDeployment: &v1alpha1.KubernetesDeploymentSpec{Patch: patch(fmt.Sprintf(`"serviceAccountName":%q`,
			account))}},
		"patch of the deprecated field": {EnvoyDeployment: &v1alpha1.KubernetesDeploymentSpec{
			Patch: patch(fmt.Sprintf(`"serviceAccountName":null,"serviceAccount":%q`, account)),
		}},
	}
}

// TestNoPodsAsTheAccountOfOthers: a fleet's pods never run as the account of another Gateway's fleet or of the control
// plane, in whichever way the EnvoyProxy names it, and the Gateway reports why. An account of users may belong to any
// one Gateway.
func TestNoPodsAsTheAccountOfOthers(t *testing.T) {
	f := newFixture(t)
	f.bring(t, "shop/web", requirement("web"))
	namespace := f.settings.ControllerNamespace
	for _, name := range []string{"gatehouse", "shared"} {
		if err := f.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace,
			Name:      name,
		}}); err != nil {
			t.Fatal(err)
		}
	}
	reasons := map[string]string{
		Name("shop", "web"): "is that of Gateway shop/web, and proxies prove by it whose they are: give one of the two another name in its EnvoyProxy, at spec.provider.kubernetes.envoyServiceAccount",
		"gatehouse":         "is the control plane's: name another one in the EnvoyProxy",
		"gatehouse-certgen": "is the control plane's: name another one in the EnvoyProxy",
		"shared":            "",
	}
	cached := f.cached(t)
	for account, reason := range reasons {
		for way, provider := range asAccount(account) {
			t.Run(account+" by "+way, func(t *testing.T) {
				a := New(cached, f.settings, logr.Discard())
				a.Set("evil/gw", withProvider(requirementOf("evil", "gw"), provider))
				err := a.Reconcile(t.Context(), "evil/gw")
				workloads := f.workloads(t, "evil", "gw")
				if reason == "" {
					if err != nil || len(workloads) != 1 {
						t.Errorf("%v, with workloads %q", err, workloads)
					}
				} else {
					want := fmt.Sprintf("the ServiceAccount cannot be used: ServiceAccount %s/%s %s", namespace, account, reason)
					if err == nil || err.Error() != want || !stays(err) {
						t.Errorf("the failure is %v, want %s", err, want)
					}
					if len(workloads) > 0 {
						t.Errorf("%q run as %s", workloads, account)
					}
				}
				fresh := New(f.Client, f.settings, logr.Discard())
				fresh.Set("evil/gw", nil)
				if err := fresh.Reconcile(t.Context(), "evil/gw"); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	accounts := &corev1.ServiceAccountList{}
	if err := f.List(t.Context(), accounts, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, account := range accounts.Items {
		names = append(names, account.Name)
	}
	slices.Sort(names)
	if want := []string{Name("shop", "web"), "gatehouse", "shared"}; !slices.Equal(names, want) {
		t.Errorf("there are ServiceAccounts %q, want %q", names, want)
	}
}

// TestPodsAsTheAccountOfOthersGo: workloads of an earlier version are deleted. Pods that run as their own account stay
// while the EnvoyProxy names an account that they may not have. A missing account is waited for.
func TestPodsAsTheAccountOfOthersGo(t *testing.T) {
	f := newFixture(t)
	f.bring(t, "shop/web", requirement("web"))
	f.bring(t, "evil/gw", requirementOf("evil", "gw"))
	own, others := f.workloads(t, "evil", "gw"), Name("shop", "web")

	named := withProvider(requirementOf("evil", "gw"), asAccount(others)["name"])
	f.Set("evil/gw", named)
	if err := f.Reconcile(t.Context(), "evil/gw"); !errors.Is(err, errAccount) {
		t.Errorf("the failure is %v", err)
	}
	if now := f.workloads(t, "evil", "gw"); len(own) != 1 || !slices.Equal(now, own) {
		t.Errorf("the fleet has %q, and had %q", now, own)
	}

	deployment := &appsv1.Deployment{}
	if err := f.Get(t.Context(), client.ObjectKey{Namespace: f.settings.ControllerNamespace, Name: Name("evil", "gw")},
		deployment); err != nil {
		t.Fatal(err)
	}
	deployment.Spec.Template.Spec.ServiceAccountName, deployment.Spec.Template.Spec.DeprecatedServiceAccount = others,
		others
	if err := f.Update(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	if err := f.Reconcile(t.Context(), "evil/gw"); !errors.Is(err, errAccount) {
		t.Errorf("the failure is %v", err)
	}
	if now := f.workloads(t, "evil", "gw"); len(now) > 0 {
		t.Errorf("%q run as the account of Gateway shop/web", now)
	}

	f.Set("evil/gw", withProvider(requirementOf("evil", "gw"), asAccount("later")["patch"]))
	if err := f.Reconcile(t.Context(), "evil/gw"); !errors.Is(err, errNoAccount) {
		t.Errorf("the failure is %v", err)
	}
	later := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Namespace: f.settings.ControllerNamespace,
		Name:      "later",
	}}
	if err := f.Create(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if err := f.Reconcile(t.Context(), "evil/gw"); err != nil {
		t.Error(err)
	}
}

// TestFleetOutlivesItsAccount: when somebody deletes the account of a fleet, its pods stay, also if the fleet or the
// leader changes, and no other Gateway gets the account. A fleet that names the account creates it again. If a patch
// chose the account, the Gateway's condition reports that it is missing.
func TestFleetOutlivesItsAccount(t *testing.T) {
	for way := range asAccount("") {
		t.Run(way, func(t *testing.T) {
			f := newFixture(t)
			name, _ := f.shared(t)
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
				Namespace: f.settings.ControllerNamespace,
				Name:      name,
			}}
			f.bring(t, "shop/web", wanting("shop", "web", name, way, 0))
			running := f.workloads(t, "shop", "web")
			if err := f.Delete(t.Context(), account); err != nil || len(running) != 1 {
				t.Fatalf("%v, and %q run", err, running)
			}
			missing := func() {
				t.Helper()
				err := f.Reconcile(t.Context(), "shop/web")
				if patched := strings.HasPrefix(way, "patch"); errors.Is(err, errNoAccount) != patched || (err != nil) != patched ||
					patched && !stays(err) {
					t.Errorf("the failure is %v", err)
				}
				if now := f.workloads(t, "shop", "web"); !slices.Equal(now, running) {
					t.Errorf("%q run, and %q did", now, running)
				}
			}
			missing()
			f.Changed("shop/web")
			missing()
			f.Keeper = New(f.Client, f.settings, logr.Discard())
			f.Set("old/gw", wanting("old", "gw", name, way, time.Hour))
			f.Set("shop/web", wanting("shop", "web", name, way, 0))
			missing()
			f.refused(t, "old", "gw", "shop/web")

			account.ResourceVersion, account.UID = "", ""
			if err := f.Create(t.Context(), account); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
			if err := f.Reconcile(t.Context(), "shop/web"); err != nil || !slices.Equal(f.workloads(t, "shop", "web"), running) {
				t.Errorf("when it is there again: %v, %q run, and %q did", err, f.workloads(t, "shop", "web"), running)
			}
		})
	}
}

// workloads lists what runs the Envoys of a Gateway, with the account of their pods.
func (f *fixture) workloads(t *testing.T, namespace, name string) (list []string) {
	t.Helper()
	found, err := f.list(t.Context(), client.MatchingLabels(envoyproxy.OwnerLabels(namespace, name)))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range found {
		if account, runs := accountOf(o); runs {
			list = append(list, nameOf(o).String()+" as "+account.name)
		}
	}
	return list
}
