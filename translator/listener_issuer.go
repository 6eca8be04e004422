package translator

import (
	"cmp"
	"fmt"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/certificate"
	"gatehouse/policies/issuer"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// conditionIssued is False on a listener whose certificate the issuer that its annotations name cannot issue, or has not
// issued while a temporary one is served. The listener is served with what its Secrets have.
const conditionIssued = "CertificateIssued"

// Reasons of that.
const (
	reasonAnnotations = "InvalidAnnotations"
	reasonIssuer      = "IssuerNotReady"
	reasonExcluded    = "HostnameExcluded"
	reasonUnreachable = "ChallengeUnreachable"
	reasonTemporary   = "TemporaryCertificate"
)

// DefaultClusterResourceNamespace is where cert-manager has the Secrets of ClusterIssuers unless it is told otherwise.
const DefaultClusterResourceNamespace = "cert-manager"

// asked is what the annotations of the listener's owner ask cert-manager for; nil for nothing.
func (c *entryRow) asked() *issuer.Asked {
	owner := c.owner()
	annotations := owner.GetAnnotations()
	if c.Set != nil {
		if len(annotations) == 0 && len(c.Gateway.Gateway.Annotations) == 0 {
			return nil
		}
		annotations = issuer.Inherited(annotations, c.Gateway.Gateway.Annotations)
	}
	return issuer.AskedBy(owner.GetNamespace(), annotations)
}

// judgeIssuer reports why no certificate can be issued for the listener. Whatever does not depend on the issuer is left
// to the Secret that is missing then.
func (t *Tables) judgeIssuer(r *flow.Read, l *listenerRow, asked *issuer.Asked) {
	if asked.Ignores(l.Spec) != "" || !l.ownSecrets() {
		return
	}
	if asked.Wrong != "" {
		p := l.unissued("metadata.annotations", reasonAnnotations, asked.Wrong)
		if own := issuer.AskedBy(l.owner().GetNamespace(), l.owner().GetAnnotations()); own == nil || own.Wrong != asked.Wrong {
			p.Weight, p.Message = verdict.Unresolved, fmt.Sprintf("with those of Gateway %s, %s", l.fleet(), asked.Wrong)
		}
		l.problem(p)
		return
	}
	spec, status, known := t.issuerOf(r, asked.Issuer)
	switch {
	case !known:
	case spec == nil:
		p := verdict.Absent("metadata.annotations", asked.Issuer, reasonIssuer)
		p.Condition = conditionIssued
		l.problem(p)
	default:
		t.judgeHost(r, l, asked, spec)
		if words := issuer.Unready(status); words != "" {
			p := l.unissued("metadata.annotations", reasonIssuer, issuer.Name(asked.Issuer)+" "+words)
			p.Weight = verdict.Unresolved
			l.problem(p)
		}
	}
}

// ownSecrets reports whether the listener refers to a Secret in its own namespace. cert-manager makes no others.
func (l *listenerRow) ownSecrets() bool {
	for _, ref := range l.Spec.TLS.CertificateRefs {
		if secretOf(l.owner().GetNamespace(), ref).Namespace == l.owner().GetNamespace() {
			return true
		}
	}
	return false
}

func (l *listenerRow) unissued(field, reason, message string) verdict.Problem {
	return verdict.Problem{
		Field: field, Condition: conditionIssued, Reason: reason, Weight: verdict.Invalid, Message: message,
	}
}

// judgeHost reports why an issuer can never issue a certificate for the listener's hostname.
func (t *Tables) judgeHost(r *flow.Read, l *listenerRow, asked *issuer.Asked, spec *cmv1.IssuerSpec) {
	host, labels := l.hostname(), l.owner().GetLabels()
	words := issuer.Excludes(spec, host, labels)
	if words == "" && spec.CA != nil {
		namespace := cmp.Or(asked.Issuer.Namespace, t.settings.ClusterResourceNamespace, DefaultClusterResourceNamespace)
		if ca, ok := t.in.secrets.Get(r, Key(namespace, spec.CA.SecretName)); ok {
			words = certificate.Excludes(ca.Data[certificate.ChainKey], host)
		}
	}
	if words != "" {
		l.problem(l.unissued(l.field("hostname"), reasonExcluded, issuer.Name(asked.Issuer)+" "+words))
		return
	}
	if solvers := issuer.ByGateway(spec, host, labels); len(solvers) > 0 {
		if p := t.unreachable(r, l, asked, solvers); p != nil {
			l.problem(*p)
		}
	}
}

// unreachable is the problem that no listener gets the request by which an ACME server proves the hostname. The route
// for it is attached to the owner of the listener, and to what the solvers of the issuer name (cert-manager 1.21). What
// belongs to others may change at any time.
func (t *Tables) unreachable(r *flow.Read, l *listenerRow, asked *issuer.Asked,
	solvers []*acmev1.ACMEChallengeSolverHTTP01GatewayHTTPRoute,
) *verdict.Problem {
	own, weight := l.ownerRef(), verdict.Invalid
	if l.Set != nil && asked.ViaGateway {
		own, weight = gatewayRef(l.Gateway.Gateway), verdict.Unresolved
	}
	route := &routeRow{Object: l.owner(), Parents: []gwapiv1.ParentReference{{
		Kind: new(gwapiv1.Kind(own.Kind)), Namespace: new(gwapiv1.Namespace(own.Namespace)), Name: gwapiv1.ObjectName(own.Name),
	}}}
	for _, solver := range solvers {
		route.Parents = append(route.Parents, solver.ParentRefs...)
	}
	for i := range route.Parents {
		p := &parentRow{Route: route, Index: i}
		if !t.findParent(r, p) || t.getsChallenges(r, p, l) {
			return nil // Nobody knows what others serve.
		}
		if p.owner() != l.ownerRef() {
			weight = verdict.Unresolved
		}
	}
	p := l.unissued(l.field("hostname"), reasonUnreachable, fmt.Sprintf(
		"%s proves %q by HTTP-01, and %s %s/%s has no listener of protocol HTTP that takes HTTPRoutes of namespace %q for it: add one on port 80, or name another issuer",
		issuer.Name(asked.Issuer), l.hostname(), own.Kind, own.Namespace, own.Name, l.owner().GetNamespace()))
	p.Weight = weight
	return &p
}

// getsChallenges reports whether a parent of routes has a listener that gets requests by plain HTTP for the host of
// another one.
func (t *Tables) getsChallenges(r *flow.Read, p *parentRow, l *listenerRow) bool {
	host := []gwapiv1.Hostname{gwapiv1.Hostname(l.hostname())}
	for _, spec := range p.written() {
		entry, ok := t.entries.Get(r, p.listenerKey(spec.Name))
		if !ok || spec.Protocol != gwapiv1.HTTPProtocolType || !p.selects(spec) {
			continue
		}
		row := &listenerRow{entryRow: entry}
		row.chooseKinds()
		if row.allowsKind(httpRoutes.Name) && t.allowsNamespace(r, row, l.owner().GetNamespace()) &&
			len(hostname.Intersect(row.hostname(), host)) > 0 {
			return true
		}
	}
	return false
}

// absentSecret is the problem of a missing Secret, with what cert-manager does about it. It tells nothing about the
// namespaces of others.
func (t *Tables) absentSecret(r *flow.Read, user certificateUser, secret verdict.Ref) verdict.Problem {
	p := verdict.Absent("", secret, user.Invalid)
	if secret.Namespace != user.From.Namespace {
		return p
	}
	row, made := t.issuances.Get(r, Key(secret.Namespace, secret.Name))
	switch {
	case made:
		p.Message = fmt.Sprintf("no Secret %q in namespace %q yet: cert-manager issues it %s", secret.Name,
			secret.Namespace, row)
	case user.Asked == nil || user.Asked.Wrong != "":
		return p
	case user.Ignored != "":
		p.Message = fmt.Sprintf("no Secret %q in namespace %q, and cert-manager makes none: %s", secret.Name,
			secret.Namespace, user.Ignored)
		return p
	default:
		p.Message = fmt.Sprintf("no Secret %q in namespace %q yet: %s is to issue it: if no Certificate of that name appears, enable Gateway API in cert-manager",
			secret.Name, secret.Namespace, issuer.Name(user.Asked.Issuer))
	}
	p.Pending = true
	return p
}

// tellTemporary reports that a certificate is served that no client trusts.
func (t *Tables) tellTemporary(r *flow.Read, l *listenerRow, field string, secret verdict.Ref) {
	words := "until the real one is issued"
	if row, ok := t.issuances.Get(r, Key(secret.Namespace, secret.Name)); ok && secret.Namespace == l.owner().GetNamespace() {
		words = "until cert-manager has issued the real one " + row.String()
	}
	p := l.unissued(field, reasonTemporary, fmt.Sprintf(
		"Secret %s/%s has a temporary certificate of cert-manager, which no client trusts, %s", secret.Namespace, secret.Name, words))
	p.Weight, p.Pending = verdict.Unresolved, true
	l.problem(p)
}
