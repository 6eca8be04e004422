package translator

import (
	"fmt"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/certificate"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

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
		certificates, p := t.authorityRef(r, a, ref)
		if p != nil {
			p.Field, p.Condition = fmt.Sprintf("%s[%d]", a.Field, i), string(gwapiv1.GatewayConditionResolvedRefs)
			problems = append(problems, *p)
			continue
		}
		names = append(names, strings.ToLower(ref.Kind)+"/"+Key(ref.Namespace, ref.Name))
		all = append(append(all, certificates...), '\n')
	}
	if len(names) == 0 {
		return nil, problems
	}
	name := a.Use + "/" + strings.Join(names, "+")
	return resource(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inlineBytes(all)},
	}}, name), problems
}

// authorityRef answers with the CA certificates of an object, or with what is wrong.
func (t *Tables) authorityRef(r *flow.Read, a authorityRefs, ref verdict.Ref) ([]byte, *verdict.Problem) {
	if ref.Group != "" || ref.Kind != "ConfigMap" && ref.Kind != "Secret" {
		return nil, &verdict.Problem{
			Reason: a.InvalidKind, Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%q of group %q cannot hold CA certificates; refer to a ConfigMap or a Secret with key %s", ref.Kind, ref.Group, certificate.AuthoritiesKey),
		}
	}
	if !t.permitted(r, a.From, ref) {
		return nil, &verdict.Problem{
			Reason: string(gwapiv1.ListenerReasonRefNotPermitted), Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%s %s/%s may not be used from namespace %q; create a ReferenceGrant in namespace %q from %s to %s",
				ref.Kind, ref.Namespace, ref.Name, a.From.Namespace, ref.Namespace, a.From.Kind, ref.Kind),
		}
	}
	row, ok := t.authorities.Get(r, authorityKey(ref))
	if !ok {
		return nil, &verdict.Problem{
			Reason: string(gwapiv1.ListenerReasonInvalidCACertificateRef), Weight: verdict.Unresolved, Missing: &ref,
			Message: fmt.Sprintf("no %s %q in namespace %q; create it or correct the name", ref.Kind, ref.Name, ref.Namespace),
		}
	}
	if row.Broken != "" {
		return nil, &verdict.Problem{
			Reason: string(gwapiv1.ListenerReasonInvalidCACertificateRef), Weight: verdict.Invalid,
			Message: fmt.Sprintf("%s %s/%s %s", ref.Kind, ref.Namespace, ref.Name, row.Broken),
		}
	}
	return row.PEM, nil
}
