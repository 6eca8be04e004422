package translator

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"gatehouse/policies"
	"gatehouse/policies/retrybudget"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// XBackendTrafficPolicies say of backends how many of the requests to them may be retries. See decision 049.

// budgetRow is an XBackendTrafficPolicy that was judged on its own. There are none unless the operator has switched the kind on.
type budgetRow struct {
	Policy *gwapixv1alpha1.XBackendTrafficPolicy
	// Problems are of the policy alone; what its targets come to is in its status.
	Problems []verdict.Problem
	// Budget is nil if the policy has none, or is not accepted.
	Budget *clusterv3.CircuitBreakers_Thresholds_RetryBudget
}

func (p *budgetRow) equal(o *budgetRow) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p.Policy == o.Policy && equalProblems(p.Problems, o.Problems)
}

func (t *Tables) budgetPolicy(_ *flow.Read, _ string, p *gwapixv1alpha1.XBackendTrafficPolicy) (*budgetRow, bool) {
	if !slices.Contains(t.settings.EnabledKinds, retrybudget.Kind) {
		return nil, false
	}
	row := &budgetRow{Policy: p, Problems: append(t.rules.Check(p), retrybudget.Check(p)...)}
	if len(row.Problems) == 0 {
		row.Budget = retrybudget.Budget(p)
	}
	return row, true
}

// budgeted is a targetRef as a reference.
func budgeted(p *gwapixv1alpha1.XBackendTrafficPolicy, i int) policies.Reference {
	ref := &p.Spec.TargetRefs[i]
	target := policies.Target{Kind: string(ref.Kind), Namespace: p.Namespace, Name: string(ref.Name)}
	return backendReference(retrybudget.Kind, i, target, string(ref.Group), noEffect)
}

// budgetTargets are the backends that the policy is about.
func budgetTargets(_ string, p *budgetRow) []string {
	return attachedKeys(retrybudget.Kind, len(p.Policy.Spec.TargetRefs), func(i int) policies.Reference { return budgeted(p.Policy, i) })
}

// budgetWinner is the oldest of the policies that have the same target.
func (t *Tables) budgetWinner(_ *flow.Read, _ string, members []flow.Row[*budgetRow]) (*budgetRow, bool) {
	return slices.MinFunc(members, func(a, b flow.Row[*budgetRow]) int { return policies.Older(a.Value.Policy, b.Value.Policy) }).Value, true
}

// limitRetries finds how many of the requests to the backend may be retries.
func (t *Tables) limitRetries(r *flow.Read, b *backend) {
	if b.To == nil {
		return
	}
	if row, ok := t.budgetTargets.Get(r, targetKey(retrybudget.Kind, b.target())); ok && row.Budget != nil {
		b.Budget = row
	}
}

// budgetBytes tell the budgets of backends apart; there are none without.
func (b backend) budgetBytes() []byte {
	if b.Budget == nil {
		return nil
	}
	return encode(b.Budget.Budget)
}

// limitRetries sets how many retries the cluster allows. Envoy counts for the cluster as a whole, so the strictest budget of its policy and of
// its backends counts.
func (c *clusterUse) limitRetries(cluster *clusterv3.Cluster) {
	if cluster.CircuitBreakers == nil {
		cluster.CircuitBreakers = &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxRetries: wrapperspb.UInt32(1024)}}}
	}
	strictest := cluster.CircuitBreakers.Thresholds[0].RetryBudget
	for _, b := range c.Backends {
		if b.Budget != nil && (strictest == nil || b.Budget.Budget.BudgetPercent.Value < strictest.BudgetPercent.Value) {
			strictest = b.Budget.Budget
		}
	}
	if strictest != nil {
		cluster.CircuitBreakers.Thresholds[0].RetryBudget = strictest
	}
}

// budgetStatus speaks about each Gateway that reaches a target of the policy.
func (t *Tables) budgetStatus(r *flow.Read, _ string, p *budgetRow) (*Status, bool) {
	var targets []judgedTarget
	for i := range p.Policy.Spec.TargetRefs {
		ref := budgeted(p.Policy, i)
		targets = append(targets, judgedTarget{ref.Target, t.budgetProblems(r, p, ref)})
	}
	return t.backendPolicyStatus(r, p.Policy, p.Problems, targets, p.conditions), true
}

// conditions are those of an ancestor, given the problems with the targets there.
func (p *budgetRow) conditions(found []verdict.Problem) []metav1.Condition {
	all := slices.Concat(p.Problems, found)
	return []metav1.Condition{status.Condition(string(gwapiv1.PolicyConditionAccepted), string(gwapiv1.PolicyReasonAccepted), "The policy is accepted.",
		status.About(all, string(gwapiv1.PolicyConditionAccepted), ""))}
}

// budgetProblems are what is wrong with a target.
func (t *Tables) budgetProblems(r *flow.Read, p *budgetRow, ref policies.Reference) []verdict.Problem {
	if len(ref.Problems) > 0 {
		return ref.Problems
	}
	if _, problem := t.findTarget(r, ref); problem != nil {
		return []verdict.Problem{*problem}
	}
	winner, _ := t.budgetTargets.Get(r, targetKey(retrybudget.Kind, ref.Target))
	if winner.Policy == p.Policy {
		return nil
	}
	return []verdict.Problem{policies.Conflicted(policies.RetryBudget, p.Policy, ref.Field, ref.Target, winner.Policy)}
}
