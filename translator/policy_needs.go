package translator

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// meet answers the needs of a policy. A need without an answer cuts off what the policy covers, unless it is optional.
// This does not depend on the weight of the problem, which decides what admission answers. owner returns who wrote a
// reference; its namespace and grants count.
func (t *Tables) meet(r *flow.Read, p *policyRow, owner func(field string) verdict.Ref) {
	for _, need := range t.needs(p.Kind, p.Policy) {
		meet := t.meetObject
		switch {
		case need.Backend != nil:
			meet = t.meetBackend
		case need.Fetch != nil:
			meet = t.meetFetch
		case need.Authorities != nil:
			meet = t.meetTrusted
		case need.Limits != nil:
			meet = t.meetLimits
		}
		field := policies.SpecField + "." + need.Field
		met, problems := meet(r, p, owner(field), &need)
		p.Problems = append(p.Problems, behind(field, problems)...)
		p.Broken = p.Broken || !met && !need.Optional
	}
}

// meetObject answers a need for what an object has that a policy refers to, and reports whether it could.
func (t *Tables) meetObject(r *flow.Read, p *policyRow, from verdict.Ref, need *feature.Need) (bool,
	[]verdict.Problem,
) {
	if problem := t.lookUp(r, from, need, &p.Have); problem != nil {
		return false, []verdict.Problem{*problem}
	}
	p.addLifetimes(from, need)
	return true, nil
}

// lookUp answers a need of a policy or a rule for what an object has: content, or a certificate. The problem is nil if
// it could. The field of the problem goes on from that of the need.
func (t *Tables) lookUp(r *flow.Read, from verdict.Ref, need *feature.Need, have *feature.Have) *verdict.Problem {
	if need.Certificate != nil {
		user := certificateUser{From: from, Invalid: string(gwapiv1.PolicyReasonInvalid)}
		name, problem := t.certificateFor(r, user, need)
		if problem == nil {
			have.AddSecret(need.Field, name)
		}
		return problem
	}
	if need.Credential != nil {
		_, problem := t.contentOf(r, from, need.Credential)
		if problem == nil {
			have.AddSecret(need.Field, credentialName(need.Credential.Object(from.Namespace), need.Credential.Key))
		}
		return problem
	}
	if need.Content == nil {
		return new(feature.Invalid("",
			"what this refers to cannot be looked up here: this is a fault of Gatehouse, please report it"))
	}
	content, problem := t.contentOf(r, from, need.Content)
	if problem == nil {
		have.AddContent(need.Field, content)
	}
	return problem
}

// contentOf returns the content that an object refers to, or what is wrong. The field of the problem begins with the
// field of the reference.
func (t *Tables) contentOf(r *flow.Read, from verdict.Ref, c *feature.Content) ([]byte, *verdict.Problem) {
	to := c.Object(from.Namespace)
	if c.Group != "" || c.RefKind != c.Kind {
		problem := verdict.WrongKind(c.Group, c.RefKind, "be used here", "refer to a "+c.Kind)
		problem.Field, problem.Reason, problem.Weight = ".kind", string(gwapiv1.PolicyReasonInvalid), verdict.Invalid
		return nil, &problem
	}
	if !t.permitted(r, from, to) {
		return nil, new(verdict.NotGranted(from, to))
	}
	data, ok := t.objectData(r, dataKey(to))
	if !ok {
		return nil, new(verdict.Absent(".name", to, string(gwapiv1.PolicyReasonInvalid)))
	}
	key := c.Key
	if only := policies.OnlyKey(c.Kind, data); c.Only && only != "" {
		key = only
	}
	content, ok := data[key]
	if !ok {
		return nil, aboutContent(to, feature.Invalid("", "%s %s/%s has no key %q: add it", to.Kind, to.Namespace, to.Name,
			c.Key))
	}
	if err := c.Check(content); err != nil {
		return nil, aboutContent(to, feature.Invalid("", "key %q of %s %s/%s %v", key, to.Kind, to.Namespace, to.Name, err))
	}
	return content, nil
}

// aboutContent is a problem with the content of an object.
func aboutContent(of verdict.Ref, p verdict.Problem) *verdict.Problem {
	p.About = &of
	return &p
}

// meetTrusted answers a need of a policy for CA certificates with those that exist and are valid. Without any the need is
// not met.
func (t *Tables) meetTrusted(r *flow.Read, p *policyRow, from verdict.Ref, need *feature.Need) (bool,
	[]verdict.Problem,
) {
	all, problems := t.trusted(r, authorityRefs{
		From: from, InvalidKind: need.Authorities.InvalidKind, Refs: needed(need.Authorities, from.Namespace),
	})
	for i := range problems {
		problems[i].Condition = ""
		if problems[i].Reason == string(gwapiv1.ListenerReasonInvalidCACertificateRef) {
			problems[i].Reason = string(gwapiv1.PolicyReasonInvalid)
		}
	}
	if len(all) > 0 {
		p.Have.AddContent(need.Field, all)
	}
	return len(all) > 0, problems
}

// meetAuthorities answers a need for CA certificates with one secret of Envoy, whose name begins with use. It is nil if
// none of the references is met. The problems are about those that are not.
func (t *Tables) meetAuthorities(r *flow.Read, use string, from verdict.Ref, need *feature.Need) (*Resource,
	[]verdict.Problem,
) {
	return t.trust(r, authorityRefs{
		Use: use, From: from, Field: policies.SpecField + "." + need.Field,
		InvalidKind: need.Authorities.InvalidKind, Refs: needed(need.Authorities, from.Namespace),
	})
}

// needed are the objects that an object of a namespace refers to.
func needed(a *feature.Authorities, namespace string) []verdict.Ref {
	return convert(a.Refs, func(ref verdict.Ref) verdict.Ref {
		return authorityRef(ref.Group, ref.Kind, ref.Namespace, namespace, ref.Name)
	})
}
