package translator

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"gatehouse/policies"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
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

// secured is a targetRef as a reference. What can be a backend can be targeted, in the policy's own namespace.
func secured(p *gwapiv1.BackendTLSPolicy, i int) policies.Reference {
	ref := &p.Spec.TargetRefs[i]
	to := policies.Reference{
		Target: policies.Target{Kind: string(ref.Kind), Namespace: p.Namespace, Name: string(ref.Name), Section: string(deref(ref.SectionName))},
		Field:  fmt.Sprintf("spec.targetRefs[%d]", i),
	}
	if kind := backendKindNamed(string(ref.Kind)); kind == nil || kind.group != string(ref.Group) {
		effect := "so it has no effect there"
		if kind != nil {
			effect = "and what may be meant is not reached"
		}
		to.Problems = []verdict.Problem{{
			Field: to.Field + ".kind", Reason: string(gwapiv1.PolicyReasonTargetNotFound), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%q of group %q is not served as a target of a %s, %s: write Service with an empty group, or ServiceImport of group %s",
				ref.Kind, ref.Group, backendtls.Kind, effect, mcsv1alpha1.GroupName),
		}}
	}
	return to
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
	var keys []string
	for i := range p.Policy.Spec.TargetRefs {
		if ref := secured(p.Policy, i); len(ref.Problems) == 0 {
			keys = append(keys, targetKey(backendtls.Kind, ref.Target))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// backendTLSWinner is the oldest of the policies that have the same target.
func (t *Tables) backendTLSWinner(_ *flow.Read, _ string, members []flow.Row[*backendTLSRow]) (*backendTLSRow, bool) {
	winner := slices.MinFunc(members, func(a, b flow.Row[*backendTLSRow]) int { return policies.Older(a.Value.Policy, b.Value.Policy) })
	return winner.Value, true
}

// target is the backend as what policies can target.
func (b backend) target() policies.Target {
	return policies.Target{Kind: b.Kind.name, Namespace: b.Service.Namespace, Name: b.Service.Name}
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
func (t *Tables) secure(r *flow.Read, b *backend, namespace string) *verdict.Problem {
	for _, key := range b.secureKeys() {
		if row, ok := t.backendTLSTargets.Get(r, key); ok {
			b.TLS = row
			break
		}
	}
	if b.TLS == nil {
		b.TLS = t.misaimed(r, b)
	}
	if b.usable() {
		return nil
	}
	name := "its " + backendtls.Kind
	if b.Service.Namespace == namespace {
		name = fmt.Sprintf("%s %q", backendtls.Kind, b.TLS.Policy.Name)
	}
	return &verdict.Problem{
		Reason: reasonBackendTLS, Weight: verdict.Unresolved,
		Message: fmt.Sprintf("%s %s/%s is not reached, since %s cannot be carried out; see the status of the policy", b.Kind.name, b.Service.Namespace, b.Service.Name, name),
	}
}

// misaimed is a policy that names the backend and cannot be attached to it: by a port that it does not have, or a group that the kind is not of.
// Its owner wants TLS there, so a port without a policy of its own is not reached in plain text.
func (t *Tables) misaimed(r *flow.Read, b *backend) *backendTLSRow {
	target := b.target()
	for _, row := range t.backendTLSByObject.Lookup(r, targetKey(backendtls.Kind, target)) {
		for i := range row.Value.Policy.Spec.TargetRefs {
			ref := secured(row.Value.Policy, i)
			if ref.Whole() == target && (len(ref.Problems) > 0 || !hasPort(b.Service, ref.Section)) {
				return &backendTLSRow{Policy: row.Value.Policy}
			}
		}
	}
	return nil
}

// hasPort reports whether a section is one of the Service, or all of it.
func hasPort(s *corev1.Service, section string) bool {
	return section == "" || slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == section })
}

// usable tells that requests can be sent to the backend.
func (b backend) usable() bool { return b.Service != nil && (b.TLS == nil || b.TLS.Usable) }

// usedServices are the keys under which a policy finds the routes that use its Services, be it for mirrors or for authorization.
func usedServices(_ string, row *rulesRow) []string {
	var used []backend
	for i := range row.Rules {
		used = slices.Concat(used, row.Rules[i].Backends, row.Rules[i].Mirrors, row.Rules[i].Authorizers)
	}
	return serviceKeys(used)
}

// askedServices are the keys under which a policy finds the listeners whose filters use its Services.
func askedServices(_ string, g *guardRow) []string { return serviceKeys(g.Backends) }

func serviceKeys(used []backend) (keys []string) {
	for _, b := range used {
		if b.Service != nil {
			keys = append(keys, b.secureKeys()...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// backendTLSStatus speaks about each Gateway that reaches a target of the policy.
func (t *Tables) backendTLSStatus(r *flow.Read, _ string, p *backendTLSRow) (*Status, bool) {
	problems := slices.Clone(p.Problems)
	var gateways []*gatewayRow
	byGateway := map[*gwapiv1.Gateway][]verdict.Problem{}
	for i := range p.Policy.Spec.TargetRefs {
		ref := secured(p.Policy, i)
		found, target := t.securedProblems(r, p, ref)
		problems = append(problems, found...)
		for _, g := range t.securingGateways(r, target) {
			if _, known := byGateway[g.Gateway]; !known {
				gateways = append(gateways, g)
			}
			byGateway[g.Gateway] = append(byGateway[g.Gateway], found...)
		}
	}
	slices.SortFunc(gateways, func(a, b *gatewayRow) int { return policies.Older(a.Gateway, b.Gateway) })
	desired := &gwapiv1.PolicyStatus{}
	for _, g := range gateways {
		desired.Ancestors = append(desired.Ancestors, gwapiv1.PolicyAncestorStatus{
			AncestorRef: gatewayAncestor(g.Gateway), ControllerName: gwapiv1.GatewayController(t.settings.ControllerName),
			Conditions: p.conditions(byGateway[g.Gateway]),
		})
	}
	desired.Ancestors = limitAncestors(desired.Ancestors)
	return newStatus(p.Policy, problems, desired), true
}

// securedProblems are those of the policy with one of its targets: it is not there, or an older policy has it. Whoever uses the target learns of
// them: the whole object, if the policy cannot be attached to a port of it.
func (t *Tables) securedProblems(r *flow.Read, p *backendTLSRow, ref policies.Reference) ([]verdict.Problem, policies.Target) {
	if len(ref.Problems) > 0 {
		return ref.Problems, ref.Whole()
	}
	kind := backendKindNamed(ref.Kind)
	service, ok := kind.find(t, r, Key(ref.Namespace, ref.Name))
	if !ok {
		problem := policies.TargetNotFound(ref)
		problem.Missing.Group = kind.group
		return []verdict.Problem{problem}, ref.Target
	}
	if !hasPort(service, ref.Section) {
		var ports []string
		for _, port := range service.Spec.Ports {
			ports = append(ports, port.Name)
		}
		problem := policies.SectionNotFound(ref, ports)
		problem.Message += "; until then, ports without a policy of their own are not reached"
		return []verdict.Problem{problem}, ref.Whole()
	}
	winner, _ := t.backendTLSTargets.Get(r, targetKey(backendtls.Kind, ref.Target))
	if winner.Policy == p.Policy {
		return nil, ref.Target
	}
	return []verdict.Problem{policies.Conflicted(policies.Kind{Kind: backendtls.Kind}, p.Policy, ref.Field, ref.Target, winner.Policy)}, ref.Target
}

// securingGateways are the Gateways whose routes use the target, or filters of their listeners.
func (t *Tables) securingGateways(r *flow.Read, target policies.Target) []*gatewayRow {
	var gateways []*gatewayRow
	add := func(g *gatewayRow) {
		if !slices.ContainsFunc(gateways, func(known *gatewayRow) bool { return known.Gateway == g.Gateway }) {
			gateways = append(gateways, g)
		}
	}
	key := targetKey(backendtls.Kind, target)
	for _, rules := range t.rulesByService.Lookup(r, key) {
		for _, p := range t.parentsByRoute.Lookup(r, rules.Key) {
			add(p.Value.Gateway)
		}
	}
	for _, guard := range t.guardsByService.Lookup(r, key) {
		add(guard.Value.Listener.Gateway)
	}
	return gateways
}

func gatewayAncestor(g *gwapiv1.Gateway) gwapiv1.ParentReference {
	group, kind, namespace := gwapiv1.Group(gwapiv1.GroupName), gwapiv1.Kind("Gateway"), gwapiv1.Namespace(g.Namespace)
	return gwapiv1.ParentReference{Group: &group, Kind: &kind, Namespace: &namespace, Name: gwapiv1.ObjectName(g.Name)}
}

// conditions are those of an ancestor, given the problems with the targets there. A policy of which no CA certificate can be used is not
// accepted, in the words that say why none can.
func (p *backendTLSRow) conditions(found []verdict.Problem) []metav1.Condition {
	all := append(slices.Clone(p.Problems), found...)
	unresolved := about(all, string(gwapiv1.BackendTLSPolicyConditionResolvedRefs), "")
	accepted := conditionOf(string(gwapiv1.PolicyConditionAccepted), string(gwapiv1.PolicyReasonAccepted), "The policy is accepted.", about(all, string(gwapiv1.PolicyConditionAccepted), ""))
	if accepted.Status == metav1.ConditionTrue && !p.Usable {
		accepted = conditionOf(accepted.Type, "", "", unresolved)
		accepted.Reason = string(gwapiv1.BackendTLSPolicyReasonNoValidCACertificate)
	}
	conditions := []metav1.Condition{
		accepted,
		conditionOf(string(gwapiv1.BackendTLSPolicyConditionResolvedRefs), string(gwapiv1.BackendTLSPolicyReasonResolvedRefs), "All references are resolved.", unresolved),
	}
	if ignored := about(all, backendtls.ConditionOptions, ""); len(ignored) > 0 {
		conditions = append(conditions, conditionOf(backendtls.ConditionOptions, "", "", ignored))
	}
	return conditions
}
