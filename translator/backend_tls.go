package translator

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// reasonBackendTLS is the reason for a backendRef whose TLS policy cannot be carried out.
const reasonBackendTLS = "InvalidBackendTLS"

// backendTLSRow is a BackendTLSPolicy that was judged on its own.
type backendTLSRow struct {
	Policy    *gwapiv1.BackendTLSPolicy
	Attaching attaching
	// Problems are those of the policy alone. Those with its targets are in its status.
	Problems []verdict.Problem
	// Trust are the CA certificates, nil for those of Envoy's system.
	Trust *Resource
	// Usable reports whether backends can be reached with the policy. If not, they are not reached at all.
	Usable bool
}

func (p *backendTLSRow) equal(o *backendTLSRow) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p.Policy == o.Policy && p.Usable == o.Usable && equalResources(p.Trust, o.Trust) &&
		equalProblems(p.Problems, o.Problems)
}

func (t *Tables) backendTLSPolicy(r *flow.Read, _ string, p *gwapiv1.BackendTLSPolicy) (*backendTLSRow, bool) {
	row := &backendTLSRow{
		Policy: p, Problems: append(t.rules.Check(p), backendtls.Check(p)...),
		Attaching: attaching{
			Kind: policies.BackendTLS, Policy: p,
			References: policies.ReferencesIn(policies.BackendTLS, p.Namespace, p.Spec.TargetRefs),
		},
	}
	row.Usable = !verdict.Has(row.Problems, verdict.Invalid)
	for _, need := range backendtls.Needs(p) {
		trust, problems := t.meetAuthorities(r, "backend", row.Attaching.ref(), &need)
		row.Trust, row.Problems = trust, append(row.Problems, problems...)
		row.Usable = row.Usable && trust != nil
	}
	return row, true
}

func (p *backendTLSRow) attaching() *attaching { return &p.Attaching }

// misaimedObject is the key of the object that a policy names and cannot be attached to: by a port that it does not
// have, or a group that the kind is not of.
func misaimedObject(_ string, a *attachment[*backendTLSRow]) []string {
	if a.Unmet == nil {
		return nil
	}
	return []string{placeKey(a.Target.Whole())}
}

// target is the backend as a target of policies.
func (b backend) target() policies.Target {
	return policies.Target{Kind: b.To.Kind.name, Namespace: b.To.Namespace, Name: b.To.Name}
}

// secured are the targets by which policies of a backend's port are found: the port comes before the whole object.
func (b backend) secured() []policies.Target {
	port := b.target()
	port.Section = b.Port.Name
	return policies.Chain(port)
}

// misaimed is a policy that names the backend and cannot be attached to it. Its owner wants TLS there, so a port
// without a policy of its own is not reached in plain text.
func (t *Tables) misaimed(r *flow.Read, target policies.Target) *backendTLSRow {
	for _, row := range t.misaimedByObject.Lookup(r, placeKey(target)) {
		return &backendTLSRow{Policy: row.Value.Policy.Policy}
	}
	return nil
}

// keysOfRules are the keys under which a policy finds the routes that use its targets, also for mirrors and for
// authorization.
func keysOfRules(_ string, row *rulesRow) []string {
	var used []backend
	for i := range row.Rules {
		used = append(used, row.Rules[i].all()...)
	}
	return backendKeys(used)
}

// keysOfGuard are the keys under which a policy finds the listeners whose filters use its targets.
func keysOfGuard(_ string, g *guardRow) []string { return backendKeys(g.Backends) }

func backendKeys(used []backend) (keys []string) {
	for _, b := range used {
		if b.To != nil {
			keys = append(keys, convert(b.secured(), placeKey)...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// backendTLSStatus has an ancestor for each Gateway that reaches a target of the policy.
func (t *Tables) backendTLSStatus(r *flow.Read, _ string, p *backendTLSRow) (*Status, bool) {
	return t.securing.status(t, r, p, p.Problems, reportOnBackends(t, t.securing, p.conditions)), true
}

// conditions are those of an ancestor, given the problems with the targets there. A policy is not accepted if none of
// its CA certificates can be used. The message says why.
func (p *backendTLSRow) conditions(found []verdict.Problem) []metav1.Condition {
	all := append(slices.Clone(p.Problems), found...)
	unresolved := status.About(all, string(gwapiv1.BackendTLSPolicyConditionResolvedRefs), "")
	wrong := status.About(all, string(gwapiv1.PolicyConditionAccepted), "")
	if !p.Usable {
		wrong = append(wrong, unresolved...)
	}
	accepted := status.Condition(string(gwapiv1.PolicyConditionAccepted), string(gwapiv1.PolicyReasonAccepted),
		"The policy is accepted.", wrong)
	if !p.Usable {
		accepted.Reason = string(gwapiv1.BackendTLSPolicyReasonNoValidCACertificate)
	}
	conditions := []metav1.Condition{
		accepted,
		status.Condition(string(gwapiv1.BackendTLSPolicyConditionResolvedRefs),
			string(gwapiv1.BackendTLSPolicyReasonResolvedRefs), "All references are resolved.", unresolved),
	}
	if ignored := status.About(all, backendtls.ConditionOptions, ""); len(ignored) > 0 {
		conditions = append(conditions, status.Condition(backendtls.ConditionOptions, "", "", ignored))
	}
	return conditions
}
