package translator

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// certificateRow is a Secret of type kubernetes.io/tls, parsed once for all listeners that use it.
type certificateRow struct {
	// Resource is nil when the Secret is broken.
	Resource *Resource
	// Broken says what is wrong with the Secret's content, in words that fit behind "Secret x/y ".
	Broken string
}

func (c *certificateRow) equal(o *certificateRow) bool {
	return c.Broken == o.Broken && equalResources(c.Resource, o.Resource)
}

func (t *Tables) certificate(_ *flow.Read, key string, s *corev1.Secret) (*certificateRow, bool) {
	if s.Type != corev1.SecretTypeTLS {
		return &certificateRow{Broken: fmt.Sprintf("is of type %q; only %q can be served", s.Type, corev1.SecretTypeTLS)}, true
	}
	chain, private := s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	if err := checkKeyPair(chain, private); err != nil {
		return &certificateRow{Broken: err.Error()}, true
	}
	certificate := &tlsv3.TlsCertificate{CertificateChain: inlineBytes(chain), PrivateKey: inlineBytes(private)}
	breakCertificate(s, certificate)
	return &certificateRow{Resource: certificateResource(key, certificate)}, true
}

func certificateResource(name string, certificate *tlsv3.TlsCertificate) *Resource {
	return resource(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: certificate}}, name)
}

func inlineBytes(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}

// checkKeyPair says what is wrong with a certificate chain and its key, with the way out.
func checkKeyPair(chain, private []byte) error {
	if len(bytes.TrimSpace(chain)) == 0 {
		return errors.New("has no tls.crt; put the PEM certificate chain there")
	}
	if len(bytes.TrimSpace(private)) == 0 {
		return errors.New("has no tls.key; put the PEM private key there")
	}
	for rest := chain; ; {
		block, next := pem.Decode(rest)
		if block == nil {
			if len(bytes.TrimSpace(rest)) > 0 {
				return errors.New("has a tls.crt that is not PEM throughout; remove what stands outside of the CERTIFICATE blocks")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("has a PEM block %q in tls.crt; only CERTIFICATE blocks belong there", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("has a certificate in tls.crt that cannot be parsed (%w); issue it anew", err)
		}
		rest = next
	}
	if block, _ := pem.Decode(private); block == nil {
		return errors.New("has a tls.key that is not PEM; put a PEM private key there")
	}
	if _, err := tls.X509KeyPair(chain, private); err != nil {
		return fmt.Errorf("has a tls.key that does not belong to the certificate in tls.crt (%w); store the two of one issuance", err)
	}
	return nil
}

// certificates resolves the listener's certificateRefs. A reference without a grant is never served. Of the permitted ones those
// that are there and whole are; if none is, all stay named, so that a running proxy keeps the last certificate it got while a
// fresh one opens the port without being able to complete a handshake for this listener.
func (t *Tables) certificates(r *flow.Read, l *listenerRow) {
	if l.Spec.TLS == nil {
		return // A rule tells of it.
	}
	user := certificateUser{From: l.ownerRef(), Invalid: string(gwapiv1.ListenerReasonInvalidCertificateRef)}
	q, _ := t.quarantines.Get(r, l.fleet())
	var whole, permitted []string
	for i, ref := range l.Spec.TLS.CertificateRefs {
		key, p := t.certificateRef(r, user, ref)
		if p == nil {
			row, _ := t.certs.Get(r, key)
			p = q.refusedSecret(user.Invalid, "Secret "+key, row.Resource.Version)
		}
		if p != nil {
			p.Field = l.field(fmt.Sprintf("tls.certificateRefs[%d]", i))
			p.Condition = string(gwapiv1.ListenerConditionResolvedRefs)
			l.problem(*p)
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
}

// certificateUser is who refers to certificates.
type certificateUser struct {
	From verdict.Ref
	// Invalid is the reason for a reference to what cannot be used.
	Invalid string
}

// certificateRef answers with the Secret's key, empty if the reference may not be followed, and with what is wrong.
func (t *Tables) certificateRef(r *flow.Read, user certificateUser, ref gwapiv1.SecretObjectReference) (string, *verdict.Problem) {
	from := user.From
	secret := verdict.Ref{Kind: "Secret", Namespace: from.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil && *ref.Namespace != "" {
		secret.Namespace = string(*ref.Namespace)
	}
	if (ref.Group != nil && *ref.Group != "") || (ref.Kind != nil && *ref.Kind != "Secret") {
		return "", &verdict.Problem{
			Reason: user.Invalid, Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%q of group %q is not a Secret; refer to a Secret of type %s", deref(ref.Kind), deref(ref.Group), corev1.SecretTypeTLS),
		}
	}
	if !t.permitted(r, from, secret) {
		return "", &verdict.Problem{
			Reason: string(gwapiv1.ListenerReasonRefNotPermitted), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("Secret %s/%s may not be used from namespace %q; create a ReferenceGrant in namespace %q from %s to Secret",
				secret.Namespace, secret.Name, from.Namespace, secret.Namespace, from.Kind),
		}
	}
	key := Key(secret.Namespace, secret.Name)
	row, ok := t.certs.Get(r, key)
	switch {
	case !ok:
		return key, &verdict.Problem{
			Reason: user.Invalid, Weight: verdict.Unresolved, Missing: &secret,
			Message: fmt.Sprintf("no Secret %q in namespace %q; create it or correct the name", secret.Name, secret.Namespace),
		}
	case row.Broken != "":
		return key, &verdict.Problem{
			Reason: user.Invalid, Weight: verdict.Invalid,
			Message: fmt.Sprintf("Secret %s/%s %s", secret.Namespace, secret.Name, row.Broken),
		}
	}
	return key, nil
}

// refusedSecret is the problem of one who uses what Envoy refused in that version; nil if it did not.
func (q quarantineRow) refusedSecret(reason, what, version string) *verdict.Problem {
	words, refused := q[version]
	if !refused {
		return nil
	}
	return &verdict.Problem{
		Reason: reason, Weight: verdict.Invalid,
		Message: fmt.Sprintf("%s is refused by Envoy: %s; issue it anew", what, words),
	}
}

// clientCertificate resolves the certificate that the Gateway presents to its backends (Gateway API, GatewayBackendTLS). As with listeners, a
// lost one stays with running proxies, and one without a grant is never used.
func (t *Tables) clientCertificate(r *flow.Read, key string, row *gatewayRow) {
	g := row.Gateway
	if g.Spec.TLS == nil || g.Spec.TLS.Backend == nil || g.Spec.TLS.Backend.ClientCertificateRef == nil {
		return
	}
	user := certificateUser{From: gatewayRef(g), Invalid: string(gwapiv1.GatewayReasonInvalidClientCertificateRef)}
	secret, problem := t.certificateRef(r, user, *g.Spec.TLS.Backend.ClientCertificateRef)
	row.Client, row.ClientRefused = secret, secret == ""
	if problem == nil {
		s, _ := t.in.secrets.Get(r, secret)
		q, _ := t.quarantines.Get(r, key)
		problem = q.refusedSecret(user.Invalid, "Secret "+secret, clientResource(s).Version)
	}
	if problem != nil {
		problem.Field, problem.Condition = "spec.tls.backend.clientCertificateRef", string(gwapiv1.GatewayConditionResolvedRefs)
		row.Problems = append(row.Problems, *problem)
	}
}

// tlsSocket is the transport socket of either side of TLS.
func tlsSocket(context *anypb.Any) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: context}}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
