package translator

import (
	"maps"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// neededCluster is the cluster of a backend that a policy needs, such as an authorization server.
type neededCluster struct {
	*clusterUse
	// Source is what the policy refers to, see Via.
	Source string
	// Optional reports whether the policy takes effect without it.
	Optional bool
}

func (c neededCluster) equal(o neededCluster) bool {
	return c.Optional == o.Optional && c.Source == o.Source && c.clusterUse.equal(o.clusterUse)
}

func equalNeeded(a, b map[string]neededCluster) bool {
	return maps.EqualFunc(a, b, neededCluster.equal)
}

// meetBackend answers a need for backends that a policy refers to, and reports whether it could. Their cluster does not
// depend on the routes and Gateways that the policy covers, except for the certificate that a Gateway presents
// (through).
func (t *Tables) meetBackend(r *flow.Read, p *policyRow, from verdict.Ref, need *feature.Need) (bool,
	[]verdict.Problem,
) {
	backends, problems := t.neededBackends(r, referrer{Ref: from, kind: &httpRoutes}, need.Backend)
	for i := range problems {
		// A route has special conditions and reasons for backends, a policy has one condition for all its problems.
		problems[i].Condition, problems[i].Reason = "", string(gwapiv1.PolicyReasonInvalid)
	}
	p.Asked = append(p.Asked, backends...)
	use := t.settingsForm(p, need.Backend).shared(backends)
	if use == nil {
		return false, problems
	}
	if p.Clusters == nil {
		p.Clusters, p.Have.Clusters = map[string]neededCluster{}, map[string]feature.Cluster{}
	}
	p.Clusters[need.Field] = neededCluster{clusterUse: use, Source: sourceOf(from, need.Backend), Optional: need.Optional}
	p.Have.Clusters[need.Field] = use.answer()
	return true, problems
}

// keysOfNeeds are the keys under which a policy for backends finds the policies that need its targets.
func keysOfNeeds(_ string, p *policyRow) []string { return backendKeys(p.Asked) }

// settingsForm is the form of a cluster by the settings of a need, as if a BackendTrafficPolicy had them.
func (t *Tables) settingsForm(p *policyRow, b *feature.Backend) *clusterForm {
	form := &clusterForm{use: clusterUse{
		Shapes: make([]*clusterShape, len(policies.Kinds)),
		Once:   t.settings.RetriesDisabled,
	}}
	if b.Settings == nil {
		return form
	}
	kind, policy := policies.OfSettings(b.Settings)
	if kind.ShapesCluster(policy, feature.Have{}) {
		form.use.Shapes[kindIndex(kind.Kind)] = &clusterShape{Policy: policy, Members: p.Members}
		form.shape()
	}
	return form
}

// through returns the cluster as a Gateway reaches it, nil if it cannot.
func (c *clusterUse) through(g *gatewayRow) *clusterUse {
	use := *c
	if use.Client == "" {
		use.Client = g.Client
	}
	if use.Client != "" || !g.ClientRefused {
		return &use
	}
	use.Backends = nil
	for _, b := range c.Backends {
		if b.TLS == nil || b.TLS.Client != "" {
			use.Backends = append(use.Backends, b)
		} else {
			use.Lost += b.Weight
		}
	}
	if len(use.Backends) == 0 {
		return nil
	}
	return &use
}

// resolveNeeds finds the clusters that the policies of a rule need.
func (b *boundRule) resolveNeeds() {
	for _, e := range b.effects {
		if e == nil || e.Broken {
			continue
		}
		for field, needed := range e.Clusters {
			if b.extra == nil {
				b.extra = map[string]*clusterUse{}
			}
			b.extra[e.Key+" "+field] = needed.through(b.listener.Gateway)
		}
	}
}

// lacks reports whether the rule, or a policy of it, must not do without a cluster that cannot be used.
func (b *boundRule) lacks() bool {
	for field, extra := range b.rules.Rules[b.rule].Extra {
		if !extra.Optional && b.extra[field] == nil {
			return true
		}
	}
	for _, e := range b.effects {
		if e == nil {
			continue
		}
		for field, needed := range e.Clusters {
			if !needed.Optional && !e.Broken && b.extra[e.Key+" "+field] == nil {
				return true
			}
		}
	}
	return false
}
