package translator

import (
	"slices"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/effective"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// entry tells of a listener as its routes see it.
func (x *teller) entry(l *listenerRow) *effective.Entry {
	if x.entries[l.Key] != nil {
		return x.entries[l.Key]
	}
	g := l.Gateway.Gateway
	entry := &effective.Entry{
		Name: string(l.Spec.Name), Owner: effective.ObjectOf(l.ownerRef()), OwnerLabels: l.owner().GetLabels(),
		Gateway: effective.Gateway{
			Namespace: g.Namespace, Name: g.Name, Class: string(g.Spec.GatewayClassName), Labels: g.Labels,
		},
		Protocol: string(l.Spec.Protocol), Port: int64(l.Spec.Port), Hostname: l.hostname(),
	}
	policy := x.policyOfChain(x.read, l)
	if policy != nil {
		said := feature.Effective{}
		policy.Kind.Effective(policy.Policy, policy.Have, &said)
		if l.protocol().layer4 {
			said.OfConnections()
		}
		entry.Clients = said.Clients
	}
	if l.guarded() {
		said := feature.Effective{Namespace: l.owner().GetNamespace()}
		policies.EffectiveOfListener(l.filters(), &said)
		entry.Authentication = said.Authentication
	}
	switch p := l.protocol(); {
	case p.passed():
		entry.TLS = &effective.TLS{Mode: string(gwapiv1.TLSModePassthrough)}
	case p.tls:
		entry.TLS = x.termination(l, policy)
	}
	x.entries[l.Key] = entry
	return entry
}

// termination tells how a listener terminates TLS.
func (x *teller) termination(l *listenerRow, policy *policyRow) *effective.TLS {
	tls := &effective.TLS{Mode: string(gwapiv1.TLSModeTerminate)}
	built := newListener()
	built.TLS = &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{}}
	policy.shapeListener(built)
	tls.MinVersion, tls.MaxVersion = tlsVersions(built.TLS.GetCommonTlsContext().GetTlsParams())
	for _, key := range l.Secrets {
		row, ok := x.certs.Get(x.read, key)
		if !ok || row.Pair == nil {
			continue // A problem of the listener says why.
		}
		secret, _ := x.in.secrets.Get(x.read, key)
		told := effective.Certificate{
			Secret: feature.ObjectName{Kind: "Secret", Namespace: secret.Namespace, Name: secret.Name},
			Names:  row.Pair.Names, Subject: row.Pair.Subject, Issuer: row.Pair.Issuer,
			NotBefore: new(metav1.NewTime(row.Pair.NotBefore)), NotAfter: new(metav1.NewTime(row.Pair.NotAfter)),
		}
		if by, ok := x.issuances.Get(x.read, key); ok && by.Issued {
			told.IssuedBy = new(effective.ObjectOf(by.Issuer))
		}
		tls.Certificates = append(tls.Certificates, told)
	}
	if v, _ := validationOf(l.Gateway.Gateway, l.Spec.Port); v != nil && l.Clients != nil {
		mode := gwapiv1.AllowValidOnly
		if l.Clients.Fallback {
			mode = gwapiv1.AllowInsecureFallback
		}
		tls.ClientValidation = &effective.ClientValidation{
			Mode: string(mode), Authorities: convert(clientAuthorities(l.Gateway.Gateway, v), effective.ObjectOf),
		}
	}
	return tls
}

// versionNames are the versions of TLS. Without a setting, Envoy takes 1.2 and 1.3 (TlsParameters, for servers).
var versionNames = map[tlsv3.TlsParameters_TlsProtocol]string{
	tlsv3.TlsParameters_TLSv1_0: "1.0", tlsv3.TlsParameters_TLSv1_1: "1.1", tlsv3.TlsParameters_TLSv1_2: "1.2",
	tlsv3.TlsParameters_TLSv1_3: "1.3",
}

func tlsVersions(params *tlsv3.TlsParameters) (lowest, highest string) {
	lowest, highest = "1.2", "1.3"
	if name, ok := versionNames[params.GetTlsMinimumProtocolVersion()]; ok {
		lowest = name
	}
	if name, ok := versionNames[params.GetTlsMaximumProtocolVersion()]; ok {
		highest = name
	}
	return lowest, highest
}

// listenerOf tells of a listener and who uses it.
func (x *teller) listenerOf(l *listenerRow) *effective.Listener {
	guard, _ := x.guards.Get(x.read, l.Key)
	traits, _ := x.listenersTraits.Get(x.read, l.Key)
	told := &effective.Listener{
		Entry: *x.entry(l), Closed: !l.Serves || traits.Closed || guard != nil && guard.Closed,
		Kinds:      convert(l.Kinds, func(k gwapiv1.RouteGroupKind) string { return string(k.Kind) }),
		Namespaces: x.namespacesOf(l),
		Problems:   effective.ProblemsOf(l.ownerRef(), x.withFilters(x.read, l).Problems),
	}
	told.Problems = append(told.Problems, effective.ProblemsOf(gatewayRef(l.Gateway.Gateway), l.Gateway.Problems)...)
	x.tellClientPolicies(l, told)
	return told
}

// tellClientPolicies tells of the policies about listeners that are attached to one.
func (x *teller) tellClientPolicies(l *listenerRow, told *effective.Listener) {
	settings, _ := x.listenersSettings.Get(x.read, l.Key)
	seen := map[string]bool{}
	for _, target := range l.chain() {
		key, ok := x.listenerWinners.Get(x.read, placeKey(target))
		if !ok || seen[key] {
			continue
		}
		p, _ := x.policies.Get(x.read, key)
		takesEffect := len(seen) == 0 && l.Serves
		if seen[key] = true; takesEffect {
			problems := p.Problems
			if settings != nil && settings.Conflict.Message != "" {
				takesEffect = false
				problems = append(slices.Clone(problems), verdict.Problem{
					Reason: string(gwapiv1.PolicyReasonConflicted), Weight: verdict.Conflicted,
					Message: settings.Conflict.Message,
				})
			}
			told.Problems = append(told.Problems, effective.ProblemsOf(p.ref(), problems)...)
		}
		told.Policies = append(told.Policies, policyOf(p, target, takesEffect))
	}
}

// namespacesOf are the namespaces whose routes may be attached to a listener.
func (x *teller) namespacesOf(l *listenerRow) effective.Namespaces {
	from := l.fromNamespaces()
	told := effective.Namespaces{From: string(from.from)}
	switch from.from {
	case gwapiv1.NamespacesFromSame:
		told.Names = []string{from.own}
	case gwapiv1.NamespacesFromSelector:
		for _, row := range x.in.namespaces.All(x.read) {
			if x.selects(x.read, from, row.Key) {
				told.Names = append(told.Names, row.Key)
			}
		}
	}
	return told
}
