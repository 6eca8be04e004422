package infra

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/envoyproxy"
)

// controlPlaneAccounts are the ServiceAccounts of the chart, in the control plane's namespace.
var controlPlaneAccounts = []string{"gatehouse", "gatehouse-certgen"}

var (
	// errAccount is the error of a workload whose pods would run as a ServiceAccount that does not belong to the fleet.
	errAccount = errors.New("the ServiceAccount cannot be used")
	// errNoAccount is the error of a workload whose pods cannot start, because their ServiceAccount does not exist.
	// Running pods continue to serve.
	errNoAccount = errors.New("the ServiceAccount is missing")
)

// accountOf is the ServiceAccount that an object runs pods as, false if it runs no pods. A patch may have chosen
// another account than the fleet's, perhaps through the deprecated name of the field.
func accountOf(o client.Object) (object, bool) {
	var pod *corev1.PodSpec
	switch w := o.(type) {
	case *appsv1.Deployment:
		pod = &w.Spec.Template.Spec
	case *appsv1.DaemonSet:
		pod = &w.Spec.Template.Spec
	default:
		return object{}, false
	}
	account := object{"v1", "ServiceAccount", o.GetNamespace(), pod.ServiceAccountName}
	if account.name == "" {
		account.name = pod.DeprecatedServiceAccount
	}
	if account.name == "" {
		account.name = "default"
	}
	return account, true
}

// reserved reports whether an object is a ServiceAccount of the control plane.
func (s Settings) reserved(o object) bool {
	return o.kind == "ServiceAccount" && o.namespace == s.ControllerNamespace &&
		slices.Contains(controlPlaneAccounts, o.name)
}

// mayRun returns an error if an object would run pods as a ServiceAccount of another Gateway's fleet, or of the control
// plane: a proxy proves its identity with its account, so it would get data that only the other one may have. Existing
// pods of that kind are deleted. It also returns an error if the account does not exist; then nothing is deleted.
func (a *Keeper) mayRun(ctx context.Context, key string, s *state, o client.Object) error {
	account, runs := accountOf(o)
	if !runs {
		return nil
	}
	refused := a.judgeAccount(ctx, key, account)
	if !errors.Is(refused, errAccount) {
		return refused
	}
	found, err := a.list(ctx, client.MatchingLabels(ownerLabelsOf(key)))
	failed := []error{refused, err}
	for _, old := range found {
		if is, runs := accountOf(old); runs && is == account {
			failed = append(failed, a.delete(ctx, key, s, old))
		}
	}
	return errors.Join(failed...)
}

func (a *Keeper) judgeAccount(ctx context.Context, key string, account object) error {
	settings, _ := a.scope()
	if settings.reserved(account) {
		return fmt.Errorf("%w: %s is the control plane's: name another one in the EnvoyProxy", errAccount, account)
	}
	found, err := a.serviceAccount(ctx, account)
	if err != nil {
		return err
	}
	owner, owned := "", false
	if found != nil {
		owner, owned = envoyproxy.KeyOf(found)
	}
	if !owned {
		if owner, _, err = a.owner(ctx, account.key()); err != nil {
			return err
		}
	}
	switch {
	case owner != "" && byLabels(owner) != byLabels(key):
		return fmt.Errorf("%w: %s is that of Gateway %s, and proxies prove by it whose they are: give one of the two another name in its EnvoyProxy, at spec.provider.kubernetes.envoyServiceAccount",
			errAccount, account, owner)
	case found == nil:
		return fmt.Errorf("%w: %s does not exist: create it, or name another one in the EnvoyProxy", errNoAccount, account)
	}
	return nil
}

// serviceAccount reads an account, whoever created it; nil if there is none.
func (a *Keeper) serviceAccount(ctx context.Context, account object) (client.Object, error) {
	found := &corev1.ServiceAccount{}
	err := a.client.Get(ctx, client.ObjectKey{Namespace: account.namespace, Name: account.name}, found)
	switch {
	case apierrors.IsNotFound(err): // A cache may have only the objects of fleets, and may lag behind.
		return a.live(ctx, account)
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", account, err)
	}
	return found, nil
}
