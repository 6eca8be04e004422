package translator

import (
	"slices"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// A service counts the requests that limits of policies count for all Envoys together. It gets the limits by xDS, as a
// fleet of its own. See decision 103.

// RateLimits is the service, as the configuration of the control plane has it.
type RateLimits struct {
	// Host and Port are where Envoys ask it.
	Host string
	Port int32
	// TLS says for which name they verify it.
	TLS *v1alpha1.BackendTLSSettings
	// Timeout is how long they wait for an answer. FailClosed reports whether they deny requests without one.
	Timeout    time.Duration
	FailClosed bool
}

// RateLimitFleet is the fleet of the service. No Gateway has this key.
const RateLimitFleet = "ratelimit"

// The names of the service, of the Secret with its certificate and the CA that Envoys trust, and of the Secret with the
// certificate that Envoys present to it. All are in the namespace of the control plane.
const (
	RateLimitService = "gatehouse-ratelimit"
	RateLimitClients = "gatehouse-ratelimit-clients"
)

// limiterKind is the kind of the service as a backend. No backendRef can name it.
var limiterKind = &backendKind{name: "Service", prefix: "ratelimit"}

// meetLimits answers a need for limits with the service, and reports whether there is one. That the service does not
// answer is for Envoy to deal with.
func (t *Tables) meetLimits(r *flow.Read, p *policyRow, from verdict.Ref, need *feature.Need) (bool, []verdict.Problem) {
	service := t.settings.RateLimits
	if service == nil {
		return false, []verdict.Problem{feature.Invalid("",
			"no service counts requests for all Envoys, so nothing that the policy covers is served: have rateLimit written "+
				"into the control plane's configuration, or write the limits into local")}
	}
	policy := Key(from.Namespace, from.Name)
	if need.Limits.Config != nil {
		config := need.Limits.Config(policy)
		p.Limits = append(p.Limits, resource(config, config.Name))
	}
	limiter := feature.Limiter{
		Cluster: unusableCluster, Policy: policy, Timeout: service.Timeout, FailClosed: service.FailClosed,
	}
	if use := t.limiterCluster(r, service, p); use != nil {
		if p.Clusters == nil {
			p.Clusters = map[string]neededCluster{}
		}
		p.Clusters[need.Field] = neededCluster{clusterUse: use, Optional: true}
		limiter.Cluster = use.Name
	}
	p.Have.AddLimiter(need.Field, limiter)
	return true, nil
}

// limiterSettings have Envoys look for the service often until its name exists, which Envoy does not take for a failure.
// Afterwards the record says how long it holds.
var limiterSettings = &v1alpha1.ClusterSettings{DNS: &v1alpha1.DNS{DNSRefreshRate: new(gwapiv1.Duration("2s"))}}

// limiterCluster is the cluster of the service, nil as long as its CA is not known.
func (t *Tables) limiterCluster(r *flow.Read, service *RateLimits, p *policyRow) *clusterUse {
	authority := t.limiterSecret(RateLimitService)
	trust, _ := t.trust(r, authorityRefs{Use: limiterKind.prefix, From: authority, Refs: []verdict.Ref{authority}})
	if trust == nil {
		return nil
	}
	to := &destination{
		Kind: limiterKind, Namespace: t.settings.Namespace, Name: RateLimitService, Discovery: byName,
		Endpoints: []listedEndpoint{{Host: service.Host, Port: service.Port}},
	}
	return t.settingsForm(p, &feature.Backend{Settings: limiterSettings}).alone(backend{
		To: to, HTTP2: true,
		TLS: &tlsUse{
			Use:   backendtls.Use{Own: service.TLS},
			Trust: trust, Client: clientPrefix + Key(t.settings.Namespace, RateLimitClients), Usable: true,
		},
	})
}

func (t *Tables) limiterSecret(name string) verdict.Ref {
	return verdict.Ref{Kind: "Secret", Namespace: t.settings.Namespace, Name: name}
}

// limiterContent are the certificates that a policy with limits uses.
func (t *Tables) limiterContent(needs []feature.Need) []contentUse {
	limited := func(n feature.Need) bool { return n.Limits != nil }
	if t.settings.RateLimits == nil || !slices.ContainsFunc(needs, limited) {
		return nil
	}
	return []contentUse{
		{Target: t.limiterSecret(RateLimitService)}, {Certificate: true, Target: t.limiterSecret(RateLimitClients)},
	}
}

// limitsKeys are the keys of what the service must know for a policy.
func limitsKeys(_ string, p *policyRow) []string {
	keys := convert(p.Limits, limitsKey)
	slices.Sort(keys)
	return slices.Compact(keys)
}

func limitsKey(limits *Resource) string { return RateLimitFleet + "|" + limits.Name }

// limits is what the service must know of the limits that a policy wrote. All that it is merged into have the same.
func (t *Tables) limits(_ *flow.Read, key string, members []flow.Row[*policyRow]) (*Resource, bool) {
	all := members[0].Value.Limits
	return all[slices.IndexFunc(all, func(limits *Resource) bool { return limitsKey(limits) == key })], true
}
