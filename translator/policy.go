package translator

import (
	"slices"
	"strings"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// declarePolicies: what policies say and where they are attached.
func (t *Tables) declarePolicies() {
	t.policies = flow.Derive(t.in.policies, "policies", (*policyRow).equal, t.policy)
	t.lasting = flow.NewIndex(t.policies, "policies with content that ends", hasLifetimes)
	t.attached = declareAttached(t, t.policies, policies.Kinds...)
	t.winners = flow.Derive(t.attached.targets, "policies of targets", slices.Equal[[]winnerRow], t.winnersOf)
	t.listenerWinners = flow.Derive(t.attached.targets, "listener policies of targets", flow.Same[string],
		t.listenerWinner)
}

// policyRow is a policy that was judged on its own.
type policyRow struct {
	Kind   policies.Kind
	Policy policies.Object
	// Members are what Policy is made of: the policy itself, or several that were merged, the most specific one first.
	Members []policies.Object
	// Merges reports whether it is merged over less specific policies.
	Merges bool
	// Have answers the policy's needs.
	Have feature.Have
	// Clusters are those of the backends that the policy needs, by the fields of the needs.
	Clusters map[string]neededCluster
	// Asked are all backends that the policy needs.
	Asked []backend
	// Broken reports whether what the policy covers answers 500. It is never served without the policy. Problems with
	// targets have no part in this: a policy does what it says on the targets that it has.
	Broken bool
	// Beyond reports whether the policy is broken whatever it is merged with.
	Beyond bool
	// Limits are what the service must know that counts requests for the policy.
	Limits []*Resource
	// Fetches are those needs that must be fetched.
	Fetches []*neededFetch
	// Attaching finds the targets.
	Attaching attaching
	// Problems are those of the policy alone. Those with its targets are in its attachments and its status. Own are
	// those of them that stay if the policy is merged with others.
	Problems, Own []verdict.Problem
	// Route is a route that has what the policy sets, and forwards.
	Route *routev3.Route
	// Connection is what the policy says about connections that are forwarded without looking into them.
	Connection feature.Connection
	// ShapesCluster reports whether clusters differ by this policy.
	ShapesCluster bool
	// ListenerParts are the settings of listeners that the policy covers.
	ListenerParts []policies.ListenerPart
	// Lifetimes are when parts of the content that the policy needs are valid.
	Lifetimes []lifetimeRow
	// Clients is which certificates of clients are accepted, nil if clients are not asked for any.
	Clients *Resource
	// Refuses lets no client in that connects with TLS, whatever its certificate. Such a row stands for a policy that
	// verifies clients, on a listener on which it has no effect.
	Refuses bool
	// Cost is what the policy adds to each route that it covers, in bytes of an Envoy.
	Cost   int64
	Traits feature.Traits
}

func (p *policyRow) equal(o *policyRow) bool {
	if p == nil || o == nil {
		return p == o
	}
	return slices.Equal(p.Members, o.Members) && p.flags() == o.flags() && equalResources(p.Clients, o.Clients) &&
		p.Cost == o.Cost && p.Traits == o.Traits &&
		p.Have.Equal(o.Have) && equalNeeded(p.Clusters, o.Clusters) && slices.EqualFunc(p.Asked, o.Asked, backend.equal) &&
		slices.EqualFunc(p.Fetches, o.Fetches, (*neededFetch).equal) && slices.EqualFunc(p.Limits, o.Limits, equalResources) &&
		equalProblems(p.Problems, o.Problems) && equalProblems(p.Own, o.Own)
}

func (p *policyRow) flags() [5]bool {
	return [5]bool{p.Merges, p.Broken, p.Refuses, p.Beyond, p.ShapesCluster}
}

// key is that of the row.
func (p *policyRow) key() string { return p.Kind.Kind + "/" + keyOf(p.Policy) }

func (p *policyRow) ref() verdict.Ref { return p.Kind.Ref(p.Policy) }

func (p *policyRow) attaching() *attaching { return &p.Attaching }

// kindOf finds the kind of a policy by the key of its input row.
func kindOf(key string) policies.Kind {
	name, _, _ := strings.Cut(key, "/")
	return policies.Kinds[kindIndex(name)]
}

func kindIndex(name string) int {
	return slices.IndexFunc(policies.Kinds, func(k policies.Kind) bool { return k.Kind == name })
}

func (t *Tables) policy(r *flow.Read, key string, p policies.Object) (*policyRow, bool) {
	kind := kindOf(key)
	row := &policyRow{
		Kind: kind, Policy: p, Members: []policies.Object{p}, Merges: kind.Merges(p), Route: &routev3.Route{},
	}
	selectors, aboutTargets := policies.Selectors(kind, p)
	row.Attaching = attaching{Kind: kind, Policy: p, References: policies.References(kind, p), Selectors: selectors}
	for _, ref := range row.Attaching.References {
		aboutTargets = append(aboutTargets, ref.Problems...)
	}
	if t.dormant(kind) {
		row.Problems = []verdict.Problem{kind.Disabled()}
		return row, true
	}
	t.judge(r, row, func(string) verdict.Ref { return row.ref() })
	row.setEffects(func(have feature.Have, route *routev3.Route) { kind.Route(p, have, route) })
	row.Problems = append(row.Problems, aboutTargets...)
	written := kind.CheckWritten(p)
	row.Beyond, row.Own = verdict.Has(written, verdict.Invalid), append(written, aboutTargets...)
	row.ListenerParts = kind.ListenerParts(p, row.Have)
	row.Clients = row.clients()
	return row, true
}

// dormant reports whether policies of the kind have no effect, because the operator has not enabled it.
func (t *Tables) dormant(k policies.Kind) bool {
	return k.Dormant && !slices.Contains(t.settings.EnabledKinds, k.Kind)
}

// judge finds the problems of a policy's spec, answers its needs, and finds out whether the policy is broken. Owner
// returns who wrote a field.
func (t *Tables) judge(r *flow.Read, p *policyRow, owner func(field string) verdict.Ref) {
	before := len(p.Problems)
	p.Problems = append(p.Problems, t.rules.Check(p.Policy)...)
	p.Problems = append(p.Problems, p.Kind.Check(p.Policy)...)
	t.meet(r, p, owner)
	p.Broken = p.Broken || verdict.Has(p.Problems[before:], verdict.Invalid)
}

// setEffects computes what a judged policy does.
func (p *policyRow) setEffects(set func(feature.Have, *routev3.Route)) {
	p.Route = trialRoute(p, set)
	p.Kind.Connection(p.Policy, p.Have, &p.Connection)
	p.ShapesCluster = p.Kind.ShapesCluster(p.Policy, p.Have)
	p.Cost = feature.Encoded(p.Route) + p.Kind.Cost(p.Policy)
	p.Traits = p.Kind.Traits(p.Policy)
}

// attachmentRow is one target of a policy, targetRow has the policies of a target by the index of their kinds.
type (
	attachmentRow = attachment[*policyRow]
	targetRow     = targetPolicies[*policyRow]
)

// winnerRow is what routes must know of a policy that a target has.
type winnerRow struct {
	// Key is that of the policy's row. It is empty if there is none.
	Key string
	// Merges reports whether it is merged over less specific policies.
	Merges bool
}

// shapesRoutes says of each kind, by its index, whether routes are made of its policies.
var shapesRoutes = func() []bool {
	shapes := make([]bool, len(policies.Kinds))
	for i, kind := range policies.Kinds {
		shapes[i] = kind.ShapesRoutes()
	}
	return shapes
}()

// winnersOf lists the policies that a target has, by the index of their kind. Those that say nothing about routes are
// left out, and have a table of their own: listenerWinner.
func (t *Tables) winnersOf(_ *flow.Read, _ string, a *targetRow) (rows []winnerRow, found bool) {
	rows = make([]winnerRow, len(a.Winners))
	for kind, winner := range a.Winners {
		if winner != nil && shapesRoutes[kind] {
			rows[kind], found = winnerRow{Key: winner.key(), Merges: winner.Merges}, true
		}
	}
	return rows, found
}

// chain is where policies can be attached to a rule of a route on a listener.
func chain(route *routeRow, rule int, l *listenerRow) []policies.Target {
	places := []policies.Target{targetOf(route.ref()), l.target()}
	places[0].Section = string(deref(route.Rules[rule].Name))
	return policies.Chain(append(places, l.above()...)...)
}
