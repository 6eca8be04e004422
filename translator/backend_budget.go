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

// XBackendTrafficPolicies limit how many of the requests to a backend may be retries. See decision 049.

// budgetRow is an XBackendTrafficPolicy that was judged on its own. There are none unless the operator has enabled the
// kind.
type budgetRow struct {
	Policy    *gwapixv1alpha1.XBackendTrafficPolicy
	Attaching attaching
	// Problems are those of the policy alone. Those with its targets are in its status.
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
	refs := convert(p.Spec.TargetRefs,
		func(ref gwapiv1.LocalPolicyTargetReference) gwapiv1.LocalPolicyTargetReferenceWithSectionName {
			return gwapiv1.LocalPolicyTargetReferenceWithSectionName{LocalPolicyTargetReference: ref}
		})
	row := &budgetRow{
		Policy: p, Problems: append(t.rules.Check(p), retrybudget.Check(p)...),
		Attaching: attaching{
			Kind: policies.RetryBudget, Policy: p,
			References: policies.ReferencesIn(policies.RetryBudget, p.Namespace, refs),
		},
	}
	if len(row.Problems) == 0 {
		row.Budget = retrybudget.Budget(p)
	}
	return row, true
}

func (p *budgetRow) attaching() *attaching { return &p.Attaching }

// limitRetries finds the policy that limits how many of the requests to the backend may be retries.
func (t *Tables) limitRetries(r *flow.Read, b *backend) {
	if b.To == nil {
		return
	}
	if row := t.budgeting.at(r, b.target()); row != nil && row.Budget != nil {
		b.Budget = row
	}
}

// budgetBytes distinguish the budgets of backends. They are empty without a budget.
func (b backend) budgetBytes() []byte {
	if b.Budget == nil {
		return nil
	}
	return encode(b.Budget.Budget)
}

// limitRetries sets how many retries the cluster allows. Envoy counts for the cluster as a whole, so the strictest
// budget of its policy and of its backends counts.
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

// budgetStatus has an ancestor for each Gateway that reaches a target of the policy.
func (t *Tables) budgetStatus(r *flow.Read, _ string, p *budgetRow) (*Status, bool) {
	return t.budgeting.status(t, r, p, p.Problems, reportOnBackends(t, t.budgeting, p.conditions)), true
}

// conditions are those of an ancestor, given the problems with the targets there.
func (p *budgetRow) conditions(found []verdict.Problem) []metav1.Condition {
	all := slices.Concat(p.Problems, found)
	return []metav1.Condition{status.Condition(string(gwapiv1.PolicyConditionAccepted),
		string(gwapiv1.PolicyReasonAccepted), "The policy is accepted.",
		status.About(all, string(gwapiv1.PolicyConditionAccepted), ""))}
}
