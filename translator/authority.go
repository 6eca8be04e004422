package translator

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// AuthoritiesKey is where ConfigMaps and Secrets have CA certificates (Gateway API, caCertificateRefs).
const AuthoritiesKey = "ca.crt"

// authorityRefs are references to CA certificates that are trusted together.
type authorityRefs struct {
	// Use is the first part of the name that the certificates have in Envoy.
	Use string
	// From is the object that refers to them, Field the path of the list.
	From  verdict.Ref
	Field string
	// InvalidKind is the reason for a reference to something that is neither ConfigMap nor Secret.
	InvalidKind string
	Refs        []verdict.Ref
}

// trust gathers the CA certificates that are there and whole into one secret of Envoy. It is nil if there is none, and says what is wrong with the
// others.
func (t *Tables) trust(r *flow.Read, a authorityRefs) (*Resource, []verdict.Problem) {
	var (
		problems []verdict.Problem
		names    []string
		all      []byte
	)
	for i, ref := range a.Refs {
		certificates, p := t.authority(r, a, ref)
		if p != nil {
			p.Field, p.Condition = fmt.Sprintf("%s[%d]", a.Field, i), string(gwapiv1.GatewayConditionResolvedRefs)
			problems = append(problems, *p)
			continue
		}
		names = append(names, strings.ToLower(ref.Kind)+"/"+Key(ref.Namespace, ref.Name))
		all = append(append(all, bytes.TrimSpace(certificates)...), '\n')
	}
	if len(names) == 0 {
		return nil, problems
	}
	name := a.Use + "/" + strings.Join(names, "+")
	return resource(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inlineBytes(all)},
	}}, name), problems
}

// authority answers with the CA certificates of an object, or with what is wrong.
func (t *Tables) authority(r *flow.Read, a authorityRefs, ref verdict.Ref) ([]byte, *verdict.Problem) {
	if ref.Group != "" || ref.Kind != "ConfigMap" && ref.Kind != "Secret" {
		return nil, &verdict.Problem{
			Reason: a.InvalidKind, Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%q of group %q cannot hold CA certificates; refer to a ConfigMap or a Secret with key %s", ref.Kind, ref.Group, AuthoritiesKey),
		}
	}
	if !t.permitted(r, a.From, ref) {
		return nil, &verdict.Problem{
			Reason: string(gwapiv1.ListenerReasonRefNotPermitted), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%s %s/%s may not be used from namespace %q; create a ReferenceGrant in namespace %q from %s to %s",
				ref.Kind, ref.Namespace, ref.Name, a.From.Namespace, ref.Namespace, a.From.Kind, ref.Kind),
		}
	}
	certificates, ok := t.authorityData(r, ref)
	if !ok {
		return nil, &verdict.Problem{
			Reason: string(gwapiv1.ListenerReasonInvalidCACertificateRef), Weight: verdict.Unresolved, Missing: &ref,
			Message: fmt.Sprintf("no %s %q in namespace %q; create it or correct the name", ref.Kind, ref.Name, ref.Namespace),
		}
	}
	if err := checkAuthorities(certificates); err != nil {
		return nil, &verdict.Problem{
			Reason: string(gwapiv1.ListenerReasonInvalidCACertificateRef), Weight: verdict.Invalid,
			Message: fmt.Sprintf("%s %s/%s %s", ref.Kind, ref.Namespace, ref.Name, err),
		}
	}
	return certificates, nil
}

// authorityData reads the key of a ConfigMap or Secret; it is false if the object is not there.
func (t *Tables) authorityData(r *flow.Read, ref verdict.Ref) ([]byte, bool) {
	key := Key(ref.Namespace, ref.Name)
	if ref.Kind == "Secret" {
		s, ok := t.in.secrets.Get(r, key)
		if !ok {
			return nil, false
		}
		return s.Data[AuthoritiesKey], true
	}
	c, ok := t.in.configMaps.Get(r, key)
	if !ok {
		return nil, false
	}
	if text, ok := c.Data[AuthoritiesKey]; ok {
		return []byte(text), true
	}
	return c.BinaryData[AuthoritiesKey], true
}

// checkAuthorities says what is wrong with CA certificates, with the way out. Words between the certificates, as public bundles have them, are
// no mistake.
func checkAuthorities(bundle []byte) error {
	found := 0
	for rest := bundle; ; found++ {
		block, next := pem.Decode(rest)
		if block == nil {
			if bytes.Contains(rest, []byte("-----BEGIN")) {
				return errors.New("has a PEM block in " + AuthoritiesKey + " that cannot be read; put it there as it was issued")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("has a PEM block %q in %s; only CERTIFICATE blocks belong there", block.Type, AuthoritiesKey)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("has a certificate in %s that cannot be parsed (%w); issue it anew", AuthoritiesKey, err)
		}
		rest = next
	}
	if found == 0 {
		return errors.New("has no certificate in " + AuthoritiesKey + "; put the PEM certificates there that are to be trusted")
	}
	return nil
}
