package translator

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/status"
)

// reasonBackendTLS is the reason of a backendRef whose TLS policy cannot be carried out.
const reasonBackendTLS = "InvalidBackendTLS"

// backendTLSRow is a BackendTLSPolicy that was judged on its own.
type backendTLSRow struct {
	Policy *gwapiv1.BackendTLSPolicy
	// Problems are of the policy alone; what its targets come to is in its status.
	Problems []verdict.Problem
	// Trust are the CA certificates, nil for those of Envoy's system.
	Trust *Resource
	// Usable tells that backends can be reached by the policy; else they are not reached at all.
	Usable bool
}

func (p *backendTLSRow) equal(o *backendTLSRow) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p.Policy == o.Policy && p.Usable == o.Usable && equalResources(p.Trust, o.Trust) && equalProblems(p.Problems, o.Problems)
}

func (t *Tables) backendTLSPolicy(r *flow.Read, _ string, p *gwapiv1.BackendTLSPolicy) (*backendTLSRow, bool) {
	row := &backendTLSRow{Policy: p, Problems: append(t.rules.Check(p), backendtls.Check(p)...)}
	row.Usable = !verdict.Has(row.Problems, verdict.Invalid)
	if backendtls.System(p) {
		return row, true
	}
	refs := authorityRefs{
		Use: "backend", Field: "spec.validation.caCertificateRefs", InvalidKind: string(gwapiv1.BackendTLSPolicyReasonInvalidKind),
		From: verdict.Ref{Group: gwapiv1.GroupName, Kind: backendtls.Kind, Namespace: p.Namespace, Name: p.Name},
		Refs: backendAuthorities(p),
	}
	trust, problems := t.trust(r, refs)
	row.Trust, row.Problems = trust, append(row.Problems, problems...)
	row.Usable = row.Usable && trust != nil
	return row, true
}

// backendAuthorities are the CA certificates that the policy refers to.
func backendAuthorities(p *gwapiv1.BackendTLSPolicy) (refs []verdict.Ref) {
	for _, ref := range p.Spec.Validation.CACertificateRefs {
		refs = append(refs, authorityRef(string(ref.Group), string(ref.Kind), "", p.Namespace, string(ref.Name)))
	}
	return refs
}

// secured is a targetRef as a reference.
func secured(p *gwapiv1.BackendTLSPolicy, i int) policies.Reference {
	ref := &p.Spec.TargetRefs[i]
	effect := noEffect
	if backendKindNamed(string(ref.Kind)) != nil {
		effect = "and what may be meant is not reached"
	}
	target := policies.Target{Kind: string(ref.Kind), Namespace: p.Namespace, Name: string(ref.Name), Section: string(deref(ref.SectionName))}
	return backendReference(backendtls.Kind, i, target, string(ref.Group), effect)
}

// securedObjects are what the policy names, be it in a way that it can be attached to or not.
func securedObjects(_ string, p *backendTLSRow) []string {
	var keys []string
	for i := range p.Policy.Spec.TargetRefs {
		keys = append(keys, targetKey(backendtls.Kind, secured(p.Policy, i).Whole()))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// securedTargets are the backends and ports that the policy is about.
func securedTargets(_ string, p *backendTLSRow) []string {
	return attachedKeys(backendtls.Kind, len(p.Policy.Spec.TargetRefs), func(i int) policies.Reference { return secured(p.Policy, i) })
}

// backendTLSWinner is the oldest of the policies that have the same target.
func (t *Tables) backendTLSWinner(_ *flow.Read, _ string, members []flow.Row[*backendTLSRow]) (*backendTLSRow, bool) {
	winner := slices.MinFunc(members, func(a, b flow.Row[*backendTLSRow]) int { return policies.Older(a.Value.Policy, b.Value.Policy) })
	return winner.Value, true
}

// target is the backend as what policies can target.
func (b backend) target() policies.Target {
	return policies.Target{Kind: b.To.Kind.name, Namespace: b.To.Namespace, Name: b.To.Name}
}

// secureKeys is where policies of a backend's port are found: those of the port come before those of the whole Service.
func (b backend) secureKeys() []string {
	whole := b.target()
	port := whole
	port.Section = b.Port.Name
	keys := []string{targetKey(backendtls.Kind, port)}
	if port != whole {
		keys = append(keys, targetKey(backendtls.Kind, whole))
	}
	return keys
}

// secure finds how the backend is spoken to. With a policy that cannot be carried out it is not spoken to at all.
func (t *Tables) secure(r *flow.Read, b *backend, object *backendObject, namespace string) *verdict.Problem {
	for _, key := range b.secureKeys() {
		if row, ok := t.backendTLSTargets.Get(r, key); ok {
			b.TLS = row
			break
		}
	}
	if b.TLS == nil {
		b.TLS = t.misaimed(r, b.target(), object)
	}
	if b.usable() {
		return nil
	}
	name := "its " + backendtls.Kind
	if b.To.Namespace == namespace {
		name = fmt.Sprintf("%s %q", backendtls.Kind, b.TLS.Policy.Name)
	}
	return &verdict.Problem{
		Reason: reasonBackendTLS, Weight: verdict.Unresolved,
		Message: fmt.Sprintf("%s is not reached, since %s cannot be carried out: see the status of the policy", b.To, name),
	}
}

// misaimed is a policy that names the backend and cannot be attached to it: by a port that it does not have, or a group that the kind is not of.
// Its owner wants TLS there, so a port without a policy of its own is not reached in plain text.
func (t *Tables) misaimed(r *flow.Read, target policies.Target, object *backendObject) *backendTLSRow {
	for _, row := range t.backendTLSByObject.Lookup(r, targetKey(backendtls.Kind, target)) {
		for i := range row.Value.Policy.Spec.TargetRefs {
			ref := secured(row.Value.Policy, i)
			if ref.Whole() == target && (len(ref.Problems) > 0 || !object.hasPort(ref.Section)) {
				return &backendTLSRow{Policy: row.Value.Policy}
			}
		}
	}
	return nil
}

// usable tells that requests can be sent to the backend.
func (b backend) usable() bool { return b.To != nil && (b.TLS == nil || b.TLS.Usable) }

// usedServices are the keys under which a policy finds the routes that use its Services, be it for mirrors or for authorization.
func usedServices(_ string, row *rulesRow) []string {
	var used []backend
	for i := range row.Rules {
		used = append(used, row.Rules[i].all()...)
	}
	return serviceKeys(used)
}

// askedServices are the keys under which a policy finds the listeners whose filters use its Services.
func askedServices(_ string, g *guardRow) []string { return serviceKeys(g.Backends) }

func serviceKeys(used []backend) (keys []string) {
	for _, b := range used {
		if b.To != nil {
			keys = append(keys, b.secureKeys()...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// backendTLSStatus speaks about each Gateway that reaches a target of the policy.
func (t *Tables) backendTLSStatus(r *flow.Read, _ string, p *backendTLSRow) (*Status, bool) {
	var targets []judgedTarget
	for i := range p.Policy.Spec.TargetRefs {
		found, target := t.securedProblems(r, p, secured(p.Policy, i))
		targets = append(targets, judgedTarget{target, found})
	}
	return t.backendPolicyStatus(r, p.Policy, p.Problems, targets, p.conditions), true
}

// securedProblems are those of the policy with one of its targets: it is not there, or an older policy has it. Whoever uses the target learns of
// them: the whole object, if the policy cannot be attached to a port of it.
func (t *Tables) securedProblems(r *flow.Read, p *backendTLSRow, ref policies.Reference) ([]verdict.Problem, policies.Target) {
	if len(ref.Problems) > 0 {
		return ref.Problems, ref.Whole()
	}
	object, problem := t.findTarget(r, ref)
	if problem != nil {
		return []verdict.Problem{*problem}, ref.Target
	}
	if !object.hasPort(ref.Section) {
		var ports []string
		for _, port := range object.Ports {
			ports = append(ports, port.Name)
		}
		problem := policies.SectionNotFound(policies.BackendTLS, ref, ports)
		return []verdict.Problem{problem}, ref.Whole()
	}
	winner, _ := t.backendTLSTargets.Get(r, targetKey(backendtls.Kind, ref.Target))
	if winner.Policy == p.Policy {
		return nil, ref.Target
	}
	return []verdict.Problem{policies.Conflicted(policies.BackendTLS, p.Policy, ref.Field, ref.Target, winner.Policy)}, ref.Target
}

// conditions are those of an ancestor, given the problems with the targets there. A policy of which no CA certificate can be used is not
// accepted, in the words that say why none can.
func (p *backendTLSRow) conditions(found []verdict.Problem) []metav1.Condition {
	all := append(slices.Clone(p.Problems), found...)
	unresolved := status.About(all, string(gwapiv1.BackendTLSPolicyConditionResolvedRefs), "")
	accepted := status.Condition(string(gwapiv1.PolicyConditionAccepted), string(gwapiv1.PolicyReasonAccepted), "The policy is accepted.", status.About(all, string(gwapiv1.PolicyConditionAccepted), ""))
	if accepted.Status == metav1.ConditionTrue && !p.Usable {
		accepted = status.Condition(accepted.Type, "", "", unresolved)
		accepted.Reason = string(gwapiv1.BackendTLSPolicyReasonNoValidCACertificate)
	}
	conditions := []metav1.Condition{
		accepted,
		status.Condition(string(gwapiv1.BackendTLSPolicyConditionResolvedRefs), string(gwapiv1.BackendTLSPolicyReasonResolvedRefs), "All references are resolved.", unresolved),
	}
	if ignored := status.About(all, backendtls.ConditionOptions, ""); len(ignored) > 0 {
		conditions = append(conditions, status.Condition(backendtls.ConditionOptions, "", "", ignored))
	}
	return conditions
}
