package infra

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// A proxy proves who it is by its ServiceAccount, so an account is one fleet's, whoever made it. Several may want it; one has it.

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

// settle has the accounts told that prove a fleet, if they are others now, and those of the fleets that compete with it or wait for an account.
func (a *Applier) settle(key string) {
	a.settling.Lock()
	defer a.settling.Unlock()
	for _, each := range a.concerned(key) {
		a.settleOne(each)
	}
}

// concerned are the fleets of which the accounts may be others when those of one have changed.
func (a *Applier) concerned(key string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed := a.fleets[key]
	if changed == nil {
		changed = &state{}
	}
	concerned := []string{key}
	for other, s := range a.fleets {
		competes := slices.ContainsFunc(s.claims, func(account string) bool { return slices.Contains(changed.claims, account) })
		if other != key && (s.waits || competes) {
			concerned = append(concerned, other)
		}
	}
	return concerned
}

// settleOne does so for one fleet. a.settling is held.
func (a *Applier) settleOne(key string) {
	a.mu.Lock()
	s := a.fleets[key]
	if s == nil {
		s = &state{} // It is gone already.
	}
	named, claims := s.named, s.claims
	a.mu.Unlock()
	var proven []string
	waits := false
	for _, account := range claims {
		owner, err := a.owner(context.Background(), account) // Caches answer at once.
		switch {
		case err != nil || byLabels(owner) != byLabels(key):
			waits = true
		case slices.Contains(named, account):
			proven = append(proven, account)
		}
	}
	a.mu.Lock()
	changed, gone := !slices.Equal(s.proven, proven), a.fleets[key] == nil
	if s.proven, s.waits = proven, waits; changed && !gone {
		a.queue.Add(key)
	}
	a.mu.Unlock()
	if (changed || gone) && a.Proven != nil {
		a.Proven(key, proven...)
	}
}

// owner is the fleet that has an account (namespace/name): one that has pods which run as it, else one that claims it; of several the one with
// the oldest Gateway.
func (a *Applier) owner(ctx context.Context, account string) (string, error) {
	keys, err := a.holders(ctx, account)
	if err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(keys) == 0 {
		for key, s := range a.fleets {
			if slices.Contains(s.claims, account) {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		return "", nil
	}
	return slices.MinFunc(keys, func(x, y string) int {
		return cmp.Or(cmp.Compare(a.age(x), a.age(y)), cmp.Compare(x, y))
	}), nil
}

// age is when a fleet's Gateway was made, in seconds since 1970; 0 for a Gateway that is gone or not known yet. a.mu is held.
func (a *Applier) age(key string) int64 {
	for long, s := range a.fleets {
		if byLabels(long) == byLabels(key) && s.req != nil {
			return s.req.Gateway.CreationTimestamp.Unix()
		}
	}
	return 0
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
