package translator

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/certificate"
	"gatehouse/policies/issuer"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
	"gatehouse/translator/hostname"
)

// servedCertificate is a Secret as Envoy gets it for listeners.
func servedCertificate(s *corev1.Secret, pair *certificate.Pair) *Resource {
	served := &tlsv3.TlsCertificate{
		CertificateChain: inlineBytes(s.Data[certificate.ChainKey]),
		PrivateKey:       inlineBytes(s.Data[certificate.PrivateKey]),
	}
	if pair.Staple != nil {
		served.OcspStaple = inlineBytes(s.Data[certificate.StapleKey])
	}
	breakCertificate(s, served)
	return certificateResource(keyOf(s), served)
}

func certificateResource(name string, certificate *tlsv3.TlsCertificate) *Resource {
	return resource(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: certificate}}, name)
}

func inlineBytes(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}

// certificates resolves the listener's certificateRefs. A certificate without a grant is never served. Of the others,
// those that can be used now are served. If there are none, all keep their names, so that a running proxy keeps the
// last certificate that it got. A new proxy then opens the port but cannot complete a handshake for this listener, or
// has an expired certificate.
func (t *Tables) certificates(r *flow.Read, l *listenerRow) {
	if l.Spec.TLS == nil {
		return // A rule tells of it.
	}
	user := certificateUser{From: l.ownerRef(), Invalid: string(gwapiv1.ListenerReasonInvalidCertificateRef), Asked: l.asked()}
	if user.Asked != nil {
		user.Ignored = user.Asked.Ignores(l.Spec)
		t.judgeIssuer(r, l, user.Asked)
	}
	q, _ := t.quarantines.Get(r, l.fleet())
	var whole, permitted []string
	for i, ref := range l.Spec.TLS.CertificateRefs {
		key, p := t.certificateRef(r, user, ref)
		row, _ := t.certs.Get(r, key)
		if p == nil {
			p = q.rejectedSecret(user.Invalid, "Secret "+key, row.Resource.Version)
		}
		field := l.field(fmt.Sprintf("tls.certificateRefs[%d]", i))
		if p != nil {
			p.Field, p.Condition = field, string(gwapiv1.ListenerConditionResolvedRefs)
			l.problem(*p)
		} else {
			secret := secretOf(user.From.Namespace, ref)
			l.judgeUse(field, secret, row)
			if row.Pair.Temporary {
				t.tellTemporary(r, l, field, secret)
			}
			t.tellEnding(r, l, field, secret)
		}
		if key != "" {
			permitted = append(permitted, key)
		}
		if key != "" && p == nil {
			whole = append(whole, key)
		}
	}
	l.Secrets, l.Certified = whole, len(whole) > 0
	if len(whole) == 0 {
		l.Secrets = permitted
	}
	for _, key := range l.Secrets {
		if row, ok := t.certs.Get(r, key); ok && row.Pair != nil {
			l.Names = append(l.Names, row.Pair.Names...)
		}
	}
	slices.Sort(l.Names)
	l.Names = slices.Compact(l.Names)
}

// certificateUser is who refers to certificates.
type certificateUser struct {
	From verdict.Ref
	// Invalid is the reason for a reference to what cannot be used.
	Invalid string
	// Asked is what the user asks cert-manager for; nil for nothing. Ignored says why cert-manager issues nothing for this
	// user all the same; empty if it does.
	Asked   *issuer.Asked
	Ignored string
}

// certificateRef returns the Secret's key, empty if the reference is not allowed, and what is wrong with it.
func (t *Tables) certificateRef(r *flow.Read, user certificateUser, ref gwapiv1.SecretObjectReference) (string,
	*verdict.Problem,
) {
	from := user.From
	secret := secretOf(from.Namespace, ref)
	if (ref.Group != nil && *ref.Group != "") || (ref.Kind != nil && *ref.Kind != "Secret") {
		problem := verdict.WrongKind(string(deref(ref.Group)), string(deref(ref.Kind)), "hold a certificate with its key",
			"refer to a Secret of type "+string(corev1.SecretTypeTLS))
		problem.Reason = user.Invalid
		return "", &problem
	}
	if !t.permitted(r, from, secret) {
		return "", new(verdict.NotGranted(from, secret))
	}
	key := Key(secret.Namespace, secret.Name)
	row, ok := t.certs.Get(r, key)
	switch {
	case !ok:
		return key, new(t.absentSecret(r, user, secret))
	case row.Broken != "":
		return key, &verdict.Problem{
			Reason: user.Invalid, Weight: verdict.Invalid, About: &secret,
			Message: fmt.Sprintf("Secret %s/%s %s", secret.Namespace, secret.Name, row.Broken),
		}
	}
	if untimely, ok := t.untimely.Get(r, key); ok {
		p := &verdict.Problem{
			Reason: user.Invalid, Weight: verdict.Invalid, About: &secret,
			Message: fmt.Sprintf("Secret %s/%s %s", secret.Namespace, secret.Name, untimely.Words),
		}
		if untimely.Early {
			p.Weight = verdict.Unresolved
		}
		return key, p
	}
	return key, nil
}

// secretOf is what the reference names, if it names a Secret.
func secretOf(namespace string, ref gwapiv1.SecretObjectReference) verdict.Ref {
	secret := verdict.Ref{Kind: "Secret", Namespace: namespace, Name: string(ref.Name)}
	if ref.Namespace != nil && *ref.Namespace != "" {
		secret.Namespace = string(*ref.Namespace)
	}
	return secret
}

// conditionHostname is False on a listener with a certificate for other hosts. It is served nevertheless, because
// nobody knows what its clients check.
const conditionHostname = "HostnameCovered"

// reasonOtherHosts is the reason of that.
const reasonOtherHosts = "CertificateForOtherHosts"

// conditionChain is False on a listener, or on a Gateway for its backends, with a certificate whose issuers are not in
// order, or do not lead to a CA. It is served nevertheless, because many clients accept it.
const conditionChain = "ChainInOrder"

// Reasons of that.
const (
	reasonOrder      = "CertificatesInWrongOrder"
	reasonIncomplete = "ChainIncomplete"
)

// chainProblem is the problem with the issuers of a Secret's certificate; nil if it has none.
func (c *certificateRow) chainProblem(field string, secret verdict.Ref) *verdict.Problem {
	if c == nil || c.Pair == nil || c.Pair.WrongOrder == "" && c.Pair.WrongChain == "" {
		return nil
	}
	reason := reasonOrder
	if c.Pair.WrongOrder == "" {
		reason = reasonIncomplete
	}
	return &verdict.Problem{
		Field: field, Condition: conditionChain, Reason: reason, Weight: verdict.Unresolved, About: &secret,
		Message: fmt.Sprintf("Secret %s/%s %s", secret.Namespace, secret.Name, c.Pair.WrongOrder+c.Pair.WrongChain),
	}
}

// judgeUse reports what is wrong with a usable certificate in this listener.
func (l *listenerRow) judgeUse(field string, secret verdict.Ref, row *certificateRow) {
	pair, what := row.Pair, "Secret "+Key(secret.Namespace, secret.Name)
	if p := row.chainProblem(field, secret); p != nil {
		l.problem(*p)
	}
	if pair.WrongStaple != "" {
		l.problem(verdict.Problem{
			Field: field, Condition: string(gwapiv1.ListenerConditionResolvedRefs),
			Reason: string(gwapiv1.ListenerReasonInvalidCertificateRef), Weight: verdict.Invalid, About: &secret,
			Message: fmt.Sprintf("%s %s; the certificate is served without it", what, pair.WrongStaple),
		})
	}
	if host := l.hostname(); host != hostname.Any && !pair.For(host) {
		l.problem(verdict.Problem{
			Field: field, Condition: conditionHostname, Reason: reasonOtherHosts, Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%s has a certificate for %s and not for %q, so that clients refuse it there: issue it for that host, or correct the name", what, certificate.Listed(pair.Names), host),
		})
	}
}

// rejectedSecret is the problem of using a secret that Envoy rejected in that version; nil if it did not.
func (q quarantineRow) rejectedSecret(reason, what, version string) *verdict.Problem {
	words, rejected := q[version]
	if !rejected {
		return nil
	}
	return &verdict.Problem{
		Reason: reason, Weight: verdict.Invalid,
		Message: fmt.Sprintf("%s is rejected by Envoy: %s: issue a new one", what, words),
	}
}

// tlsSocket is the transport socket of either side of TLS.
func tlsSocket(context *anypb.Any) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: context},
	}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
