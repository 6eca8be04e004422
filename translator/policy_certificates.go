package translator

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// Certificates that clusters need are answered with the name of an SDS secret. A cluster whose settings have the name
// refers to the secret, and so it is served (clusterSecret).

// certificateFor answers a need for a certificate with the name of its SDS secret. It is empty if the reference may not
// be followed. The field of the problem begins with that of the need.
func (t *Tables) certificateFor(r *flow.Read, user certificateUser, need *feature.Need) (string, *verdict.Problem) {
	secret, problem := t.certificateRef(r, user, *need.Certificate)
	if secret == "" {
		return "", problem
	}
	return clientPrefix + secret, problem
}

// meetGateway answers the needs of a Gateway, which are certificates. As with listeners, running proxies keep a deleted
// one, and one without a grant is never used.
func (t *Tables) meetGateway(r *flow.Read, key string, row *gatewayRow) {
	user := certificateUser{
		From:    gatewayRef(row.Gateway),
		Invalid: string(gwapiv1.GatewayReasonInvalidClientCertificateRef),
	}
	have := feature.Have{Secrets: map[string]string{}}
	for _, need := range policies.NeedsOfGateway(row.Gateway) {
		name, problem := t.certificateFor(r, user, &need)
		have.Secrets[need.Field] = name
		row.ClientRefused = row.ClientRefused || name == ""
		if problem == nil {
			problem = t.presented(r, key, secretOf(row.Gateway.Namespace, *need.Certificate))
		}
		if problem == nil {
			continue
		}
		problem.Field = policies.SpecField + "." + need.Field
		if problem.Condition == "" {
			problem.Condition = string(gwapiv1.GatewayConditionResolvedRefs)
		}
		row.Problems = append(row.Problems, *problem)
	}
	u := feature.NewUpstream()
	policies.ClusterOfGateway(row.Gateway, have, u)
	row.Client = u.Certificate
}

// presented is what the proxies of a fleet and the backends have against a whole certificate, nil for nothing.
func (t *Tables) presented(r *flow.Read, fleet string, secret verdict.Ref) *verdict.Problem {
	key := Key(secret.Namespace, secret.Name)
	s, _ := t.in.secrets.Get(r, key)
	q, _ := t.quarantines.Get(r, fleet)
	if p := q.rejectedSecret(string(gwapiv1.GatewayReasonInvalidClientCertificateRef), "Secret "+key,
		clientResource(s).Version); p != nil {
		return p
	}
	shown, _ := t.certs.Get(r, key)
	return shown.chainProblem("", secret)
}
