package infra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

// A proxy proves its identity with its ServiceAccount, so an account belongs to one fleet, whoever created it. Several
// fleets may claim it; one of them has it.

// accountField is the name of the index that finds workloads by the account of their pods.
const accountField = "account"

// Index adds the index with which a Keeper's client finds workloads. It must be called before that client's cache
// starts.
func Index(ctx context.Context, caches client.FieldIndexer) error {
	for _, kind := range []client.Object{&appsv1.Deployment{}, &appsv1.DaemonSet{}} {
		err := caches.IndexField(ctx, kind, accountField, func(o client.Object) []string {
			account, _ := accountOf(o)
			return []string{account.name}
		})
		if err != nil {
			return fmt.Errorf("index %T by ServiceAccount: %w", kind, err)
		}
	}
	return nil
}

// groups are sets by name.
type groups map[string]map[string]bool

func (g groups) add(name, member string) {
	if g[name] == nil {
		g[name] = map[string]bool{}
	}
	g[name][member] = true
}

func (g groups) remove(name, member string) {
	if delete(g[name], member); len(g[name]) == 0 {
		delete(g, name)
	}
}

// claim updates the accounts that a fleet claims from its requirement. While the requirement is on hold, existing
// objects and their account stay as they are. a.mu must be held.
func (a *Keeper) claim(key string, s *state) {
	for _, account := range s.claims {
		a.claimants.remove(account, key)
	}
	switch {
	case s.req == nil:
		s.named, s.claims = nil, nil
	case !s.req.Hold || s.claims == nil:
		s.named = Accounts(*s.req, a.settings)
		s.claims = claimsOf(*s.req, a.settings)
	}
	for _, account := range s.claims {
		a.claimants.add(account, key)
	}
}

// claimsOf are the accounts that a fleet's pods should run as, by name or by a patch.
func claimsOf(req translator.Requirement, settings Settings) []string {
	claims := Accounts(req, settings)
	if workload, err := newPlan(req, settings).workload(); err == nil { // Without a workload no pods run.
		if account, runs := accountOf(workload); runs {
			claims = append(claims, account.key())
		}
	}
	slices.Sort(claims)
	return slices.Compact(claims)
}

func (o object) key() string { return o.namespace + "/" + o.name }

// assign determines which fleets have some accounts now, and reports changes. If an owner cannot be determined, it
// stays the same. a.assigning must be held.
func (a *Keeper) assign(accounts []string) {
	for _, account := range accounts {
		owner, claimed, err := a.owner(context.Background(), account) // Caches answer immediately.
		if err != nil {
			a.log.Error(err, "could not find out whose a ServiceAccount is; trying again", "account", account)
			a.assignLater(account)
			continue
		}
		a.retries.Forget(account)
		if before := a.note(account, owner, claimed); before != owner {
			a.tell(before)
			a.tell(owner)
		}
	}
}

// note stores the owner of an account while somebody claims it, and returns the previous owner.
func (a *Keeper) note(account, owner string, claimed bool) (before string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before = a.owners[account]
	delete(a.owners, account)
	a.owned.remove(byLabels(before), account)
	if claimed {
		a.owners[account] = owner
		a.owned.add(byLabels(owner), account)
	}
	return before
}

// assignLater determines the fleet of an account again later, even if nothing changes until then. This happens on every
// replica, unlike the work of the queue. a.assigning must be held.
func (a *Keeper) assignLater(account string) {
	if a.undecided[account] {
		return
	}
	a.undecided[account] = true
	time.AfterFunc(a.retries.When(account), func() {
		a.assigning.Lock()
		defer a.assigning.Unlock()
		delete(a.undecided, account)
		a.assign([]string{account})
	})
}

// tell reports the accounts with which a fleet authenticates, and schedules an update of the fleet.
func (a *Keeper) tell(key string) {
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
func (a *Keeper) held(key string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var held []string
	if s := a.fleets[key]; s != nil {
		held = slices.Clone(s.claims)
	}
	for account := range a.owned[byLabels(key)] {
		if !slices.Contains(held, account) {
			held = append(held, account)
		}
	}
	return held
}

// owner returns the fleet that has an account (namespace/name): a fleet whose pods run as the account, or whose labels
// the account has; otherwise a fleet that claims it. If there are several, the one with the oldest Gateway has it.
// claimed reports whether any fleet claims it.
func (a *Keeper) owner(ctx context.Context, account string) (owner string, claimed bool, err error) {
	keys, err := a.holders(ctx, account)
	a.mu.Lock()
	defer a.mu.Unlock()
	claimed = len(a.claimants[account]) > 0
	if len(keys) == 0 {
		keys = slices.Collect(maps.Keys(a.claimants[account]))
	}
	if err != nil || len(keys) == 0 {
		return "", claimed, err
	}
	return slices.MinFunc(keys, func(x, y string) int {
		return cmp.Or(cmp.Compare(a.age(x), a.age(y)), cmp.Compare(x, y))
	}), claimed, nil
}

// age is the creation time of a fleet's Gateway, in seconds since 1970; 0 for a Gateway that is gone or not known yet.
// a.mu must be held.
func (a *Keeper) age(key string) int64 {
	s := a.fleets[key]
	if s == nil || s.req == nil {
		return 0
	}
	return s.req.Gateway.CreationTimestamp.Unix()
}

// holders returns the fleets whose labels the account has, or whose pods run as the account. The cost depends on the
// number of these objects.
func (a *Keeper) holders(ctx context.Context, account string) ([]string, error) {
	settings, _ := a.scope()
	namespace, name, _ := strings.Cut(account, "/")
	var keys []string
	add := func(o client.Object) {
		if key, owned := settings.KeyOf(o); owned {
			keys = append(keys, key)
		}
	}
	own := &corev1.ServiceAccount{}
	err := client.IgnoreNotFound(a.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, own))
	var deployments appsv1.DeploymentList
	var daemons appsv1.DaemonSetList
	for _, list := range []client.ObjectList{&deployments, &daemons} {
		runAs := client.MatchingFields{accountField: name}
		err = errors.Join(err, a.client.List(ctx, list, client.InNamespace(namespace), runAs, client.UnsafeDisableDeepCopy))
	}
	if err != nil {
		return nil, fmt.Errorf("looking for who runs as ServiceAccount %s: %w", account, err)
	}
	add(own)
	for i := range deployments.Items {
		add(&deployments.Items[i])
	}
	for i := range daemons.Items {
		add(&daemons.Items[i])
	}
	return keys, nil
}
