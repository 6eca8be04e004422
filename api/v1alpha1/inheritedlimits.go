package v1alpha1

import "slices"

// InheritedLimits are the global limits that a policy adds to those of the policies that are merged over it.
type InheritedLimits struct {
	// Policy is the namespace/name of the policy that wrote the limits.
	Policy string
	// Rules are the limits.
	Rules []RateLimitRule
}

// InheritLimits takes over the global limits of the policies from which the policy was merged, the most specific one
// first. With StrategicMerge, limits add up. With JSONMerge, they replace others, as lists do.
func (p *BackendTrafficPolicy) InheritLimits(members []*BackendTrafficPolicy) {
	var inherited []InheritedLimits
	var last *BackendTrafficPolicy
	add := func() {
		inherited = slices.Insert(inherited, 0, InheritedLimits{
			Policy: last.Namespace + "/" + last.Name, Rules: last.globalRules(),
		})
	}
	for i, member := range slices.Backward(members) {
		rules := member.globalRules()
		switch {
		case rules == nil:
			continue
		case i < len(members)-1 && *member.Spec.MergeType == JSONMerge:
			inherited = nil
		case len(rules) == 0:
			continue
		case last != nil:
			add()
		}
		last = member
	}
	if last != nil && len(last.globalRules()) > 0 && len(p.globalRules()) == 0 {
		add() // An empty list adds nothing.
	}
	if len(inherited) > 0 {
		p.Spec.RateLimit.Inherited = inherited
	}
}

// globalRules are the global limits as they are written.
func (p *BackendTrafficPolicy) globalRules() []RateLimitRule {
	if p.Spec.RateLimit == nil || p.Spec.RateLimit.Global == nil {
		return nil
	}
	return p.Spec.RateLimit.Global.Rules
}
