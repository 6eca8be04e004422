package infra

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// A proxy proves who it is by its ServiceAccount, so an account is one fleet's, whoever made it. Several may claim it; one has it.

// claim makes what a fleet requires its claim to accounts. While the requirement is on hold, what exists stays as it is, and its account too.
func (s *state) claim(req *translator.Requirement, settings Settings) {
	switch {
	case req == nil:
		s.named, s.claims = nil, nil
	case !req.Hold || s.claims == nil:
		s.named = Accounts(*req, settings)
		s.claims = claimsOf(*req, settings)
	}
}

// claimsOf are the accounts that a fleet's pods are to run as, by name or by a patch.
func claimsOf(req translator.Requirement, settings Settings) []string {
	claims := Accounts(req, settings)
	if workload, err := newFleet(req, settings).workload(); err == nil { // Without a workload no pods run.
		if account, runs := accountOf(workload); runs {
			claims = append(claims, account.key())
		}
	}
	slices.Sort(claims)
	return slices.Compact(claims)
}

func (o object) key() string { return o.namespace + "/" + o.name }

// settle finds out who has some accounts now, and tells it if that has changed. What cannot be found out stays as it was. a.settling is held.
func (a *Applier) settle(accounts []string) {
	for _, account := range accounts {
		owner, claimed, err := a.owner(context.Background(), account) // Caches answer at once.
		if err != nil {
			a.log.Error(err, "could not find out whose a ServiceAccount is; trying again", "account", account)
			a.settleLater(account)
			continue
		}
		a.retries.Forget(account)
		a.mu.Lock()
		before := a.owners[account]
		if a.owners[account] = owner; !claimed {
			delete(a.owners, account)
		}
		a.mu.Unlock()
		if before == owner {
			continue
		}
		for _, key := range []string{before, owner} {
			a.tell(key)
		}
	}
}

// settleLater has an account settled although nothing may change until then. It is done on every replica, unlike the work of the queue. a.settling
// is held.
func (a *Applier) settleLater(account string) {
	if a.unsettled[account] {
		return
	}
	a.unsettled[account] = true
	time.AfterFunc(a.retries.When(account), func() {
		a.settling.Lock()
		defer a.settling.Unlock()
		delete(a.unsettled, account)
		a.settle([]string{account})
	})
}

// tell tells by which accounts a fleet proves who it is, and has it brought up to date.
func (a *Applier) tell(key string) {
	a.mu.Lock()
	var proven []string
	if s := a.fleets[key]; s != nil {
		a.queue.Add(key)
		for _, account := range s.named {
			if byLabels(a.owners[account]) == byLabels(key) {
				proven = append(proven, account)
			}
		}
	}
	a.mu.Unlock()
	if a.Proven != nil && key != "" {
		a.Proven(key, proven...)
	}
}

// held are the accounts that a fleet claims or has.
func (a *Applier) held(key string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var held []string
	if s := a.fleets[key]; s != nil {
		held = slices.Clone(s.claims)
	}
	for account, owner := range a.owners {
		if byLabels(owner) == byLabels(key) && !slices.Contains(held, account) {
			held = append(held, account)
		}
	}
	return held
}

// owner is the fleet that has an account (namespace/name): one that has pods which run as it, or of which it is; else one that claims it. Of several it
// is the one with the oldest Gateway. claimed is whether any fleet claims it.
func (a *Applier) owner(ctx context.Context, account string) (owner string, claimed bool, err error) {
	keys, err := a.holders(ctx, account)
	a.mu.Lock()
	defer a.mu.Unlock()
	var claimants []string
	for key, s := range a.fleets {
		if slices.Contains(s.claims, account) {
			claimants = append(claimants, key)
		}
	}
	claimed = len(claimants) > 0
	if len(keys) == 0 {
		keys = claimants
	}
	if err != nil || len(keys) == 0 {
		return "", claimed, err
	}
	return slices.MinFunc(keys, func(x, y string) int {
		return cmp.Or(cmp.Compare(a.age(x), a.age(y)), cmp.Compare(x, y))
	}), claimed, nil
}

// age is when a fleet's Gateway was made, in seconds since 1970; 0 for a Gateway that is gone or not known yet. a.mu is held.
func (a *Applier) age(key string) int64 {
	s := a.fleets[key]
	if s == nil || s.req == nil {
		return 0
	}
	return s.req.Gateway.CreationTimestamp.Unix()
}

// holders are the fleets of which the account is, or of which pods run as it.
func (a *Applier) holders(ctx context.Context, account string) ([]string, error) {
	settings, _ := a.scope()
	namespace, name, _ := strings.Cut(account, "/")
	var accounts corev1.ServiceAccountList
	var deployments appsv1.DeploymentList
	var daemons appsv1.DaemonSetList
	for _, list := range []client.ObjectList{&accounts, &deployments, &daemons} {
		err := a.client.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels(envoyproxy.ManagedLabels()), client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("looking for who runs as ServiceAccount %s: %w", account, err)
		}
	}
	var keys []string
	add := func(o client.Object, holds bool) {
		if key, owned := settings.KeyOf(o); owned && holds {
			keys = append(keys, key)
		}
	}
	for i := range accounts.Items {
		add(&accounts.Items[i], accounts.Items[i].Name == name)
	}
	runsAs := func(o client.Object) {
		is, _ := accountOf(o)
		add(o, is.key() == account)
	}
	for i := range deployments.Items {
		runsAs(&deployments.Items[i])
	}
	for i := range daemons.Items {
		runsAs(&daemons.Items[i])
	}
	return keys, nil
}
