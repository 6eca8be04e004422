package translator

import (
	"fmt"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

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
	// InvalidKind is the reason for a reference to a kind that cannot hold CA certificates, or that the cluster does
	// not serve.
	InvalidKind string
	Refs        []verdict.Ref
}

// trust gathers the CA certificates that exist and are valid into one secret of Envoy, nil if there are none, and
// returns what is wrong with the others. The name of the secret consists of all references, so that the secret changes
// when an object appears or disappears. Envoy then takes the secret without draining the connections of the listener.
func (t *Tables) trust(r *flow.Read, a authorityRefs) (*Resource, []verdict.Problem) {
	all, problems := t.trusted(r, a)
	if len(all) == 0 {
		return nil, problems
	}
	names := convert(a.Refs, func(ref verdict.Ref) string {
		return strings.ToLower(ref.Kind) + "/" + Key(ref.Namespace, ref.Name)
	})
	name := a.Use + "/" + strings.Join(names, "+")
	return resource(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inlineBytes(all)},
	}}, name), problems
}

// trusted are the CA certificates that exist and are valid, in PEM, and what is wrong with the others.
func (t *Tables) trusted(r *flow.Read, a authorityRefs) (all []byte, problems []verdict.Problem) {
	for i, ref := range a.Refs {
		certificates, p := t.authoritiesAt(r, a, ref)
		if p != nil {
			p.Field, p.Condition = fmt.Sprintf("%s[%d]", a.Field, i), string(gwapiv1.GatewayConditionResolvedRefs)
			problems = append(problems, *p)
			continue
		}
		all = append(append(all, certificates...), '\n')
	}
	return all, problems
}

// authoritiesAt returns the CA certificates of an object, or what is wrong with the reference to it.
func (t *Tables) authoritiesAt(r *flow.Read, a authorityRefs, ref verdict.Ref) ([]byte, *verdict.Problem) {
	kind := authorityKindOf(ref.Group, ref.Kind)
	if p := t.authorityKindProblem(r, a, kind, ref); p != nil {
		return nil, p
	}
	if !kind.whole && !t.permitted(r, a.From, ref) {
		return nil, new(verdict.NotGranted(a.From, ref))
	}
	row, ok := t.authorities.Get(r, dataKey(ref))
	if !ok {
		return nil, new(verdict.Absent("", ref, string(gwapiv1.ListenerReasonInvalidCACertificateRef)))
	}
	if row.Broken != "" {
		return nil, &verdict.Problem{
			Reason: string(gwapiv1.ListenerReasonInvalidCACertificateRef), Weight: verdict.Invalid, About: &ref,
			Message: fmt.Sprintf("%s %s %s", ref.Kind, Key(ref.Namespace, ref.Name), row.Broken),
		}
	}
	return row.PEM, nil
}

// authorityKindProblem is what is wrong with the kind of a reference, nil if nothing is.
func (t *Tables) authorityKindProblem(r *flow.Read, a authorityRefs, kind *authorityKind,
	ref verdict.Ref,
) *verdict.Problem {
	switch {
	case kind == nil:
		problem := verdict.WrongKind(ref.Group, ref.Kind, "hold CA certificates", "refer to "+authoritiesAsked)
		problem.Reason = a.InvalidKind
		return &problem
	case kind.enable != "" && !t.kindServed(r, kind.GroupKind):
		return &verdict.Problem{
			Reason: a.InvalidKind, Weight: verdict.Unresolved,
			Message: fmt.Sprintf("%s %q cannot be read, since this cluster does not serve the kind: %s", ref.Kind, ref.Name,
				kind.enable),
		}
	case kind.whole && ref.Namespace != "":
		return &verdict.Problem{
			Reason: string(gwapiv1.ListenerReasonInvalidCACertificateRef), Weight: verdict.Invalid,
			Message: fmt.Sprintf("%s %q is of no namespace: leave out namespace %q", ref.Kind, ref.Name, ref.Namespace),
		}
	}
	return nil
}
