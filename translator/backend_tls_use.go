package translator

import (
	"fmt"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// ownTLS is what a Backend says about TLS to its endpoints. See decision 098.
type ownTLS struct {
	Settings *v1alpha1.BackendTLSSettings
	// Trust are the CA certificates, nil for those of Envoy's system.
	Trust *Resource
	// Client is the name of the SDS secret with the certificate that is presented, empty for that of the Gateway.
	Client string
}

func (o *ownTLS) equal(other *ownTLS) bool {
	if o == nil || other == nil {
		return o == other
	}
	return o.Settings == other.Settings && o.Client == other.Client && equalResources(o.Trust, other.Trust)
}

// meetListed finds the certificates that a Backend refers to. Each of them must be there.
func (t *Tables) meetListed(r *flow.Read, row *listedRow) {
	b := row.Backend
	if b.Spec.TLS == nil {
		return
	}
	row.TLS = &ownTLS{Settings: b.Spec.TLS}
	from := backendRefOf(b)
	user := certificateUser{From: from, Invalid: string(gwapiv1.PolicyReasonInvalid)}
	for _, need := range backendtls.NeedsOfBackend(b) {
		var problems []verdict.Problem
		if need.Authorities != nil {
			row.TLS.Trust, problems = t.meetAuthorities(r, "backend", from, &need)
		} else if name, problem := t.certificateFor(r, user, &need); problem == nil {
			row.TLS.Client = name
		} else {
			problem.Field = policies.SpecField + "." + need.Field
			problems = []verdict.Problem{*problem}
		}
		for _, p := range problems {
			p.Condition, p.Reason = "", string(gwapiv1.PolicyReasonInvalid)
			row.Problems = append(row.Problems, p)
		}
	}
}

func backendRefOf(b *v1alpha1.Backend) verdict.Ref {
	return verdict.Ref{Group: v1alpha1.GroupName, Kind: v1alpha1.KindBackend, Namespace: b.Namespace, Name: b.Name}
}

// checkTrusts finds a Backend that asks for TLS where neither it nor a BackendTLSPolicy of each of its ports says whom to
// trust. Nothing is sent to such a port.
func (t *Tables) checkTrusts(r *flow.Read, l *listedRow) []verdict.Problem {
	if l.TLS == nil || len(l.Problems) > 0 || backendtls.Trusts(l.TLS.Settings) {
		return nil
	}
	row := &backendObject{destination: destination{
		Kind: backendKindNamed(v1alpha1.KindBackend), Namespace: l.Backend.Namespace, Name: l.Backend.Name,
	}}
	readBackend(l, row)
	b := backend{To: &row.destination, Port: *row.Own}
	if policy := t.policyOfTLS(r, b); policy != nil {
		return nil
	}
	nobody := feature.Invalid("spec.tls",
		"nothing says which CA certificates are trusted, so nothing is sent to the Backend: write caCertificateRefs, or "+
			"wellKnownCACertificates: System, or create a %s for the Backend", backendtls.Kind)
	nobody.Weight = verdict.Unresolved // The policy may come later.
	return []verdict.Problem{nobody}
}

// tlsUse is how Envoy uses TLS to a backend.
type tlsUse struct {
	backendtls.Use
	// Trust are the CA certificates, nil for those of Envoy's system.
	Trust *Resource
	// Client is the name of the SDS secret with the certificate that is presented, empty for that of the Gateway.
	Client string
	// Usable reports whether the backend can be reached. If not, it is not reached at all.
	Usable bool
}

func (u *tlsUse) equal(o *tlsUse) bool {
	if u == nil || o == nil {
		return u == o
	}
	return u.Use == o.Use && u.Client == o.Client && u.Usable == o.Usable && equalResources(u.Trust, o.Trust)
}

// use puts together what a policy and a Backend say. The values of the policy win.
func (p *backendTLSRow) use(own *ownTLS) *tlsUse {
	use := &tlsUse{}
	if own != nil {
		use.Own, use.Client, use.Trust, use.Usable = own.Settings, own.Client, own.Trust, backendtls.Trusts(own.Settings)
	}
	if p != nil {
		use.Policy, use.Trust, use.Usable = p.Policy, p.Trust, p.Usable
	}
	return use
}

// policyOfTLS is the BackendTLSPolicy of the backend, nil for none.
func (t *Tables) policyOfTLS(r *flow.Read, b backend) *backendTLSRow {
	for _, target := range b.secured() {
		if row := t.securing.at(r, target); row != nil {
			return row
		}
	}
	return t.misaimed(r, b.target())
}

// secure finds how TLS to the backend is used. Nothing is sent to one for which this cannot be carried out.
func (t *Tables) secure(r *flow.Read, b *backend, from referrer) *verdict.Problem {
	policy := t.policyOfTLS(r, *b)
	if policy == nil && b.To.TLS == nil {
		return nil
	}
	b.TLS = policy.use(b.To.TLS)
	problem := &verdict.Problem{Reason: reasonBackendTLS, Weight: verdict.Unresolved}
	if from.kind.failure == 0 && b.TLS.OfRequests() { // Connections of layer 4 have no host.
		b.TLS.ByEndpoint = b.namesEndpoints()
		if !b.TLS.ByEndpoint && !b.TLS.Unverified() {
			problem.Message = fmt.Sprintf("%s is not reached, since a %s has no host by which its certificate could be "+
				"verified: write tls.sni into the Backend, or a hostname for each of its endpoints", b.To, from.Kind)
			b.TLS.Usable = false
			return problem
		}
	}
	switch {
	case b.usable():
		return nil
	case policy == nil:
		problem.Message = fmt.Sprintf("%s is not reached, since nothing says which CA certificates are trusted: see its status",
			b.To)
	case b.To.Namespace == from.Namespace:
		problem.Message = fmt.Sprintf("%s is not reached, since %s %q cannot be carried out: see the status of the policy", b.To,
			backendtls.Kind, policy.Policy.Name)
	default:
		problem.Message = fmt.Sprintf("%s is not reached, since its %s cannot be carried out: see the status of the policy", b.To,
			backendtls.Kind)
	}
	return problem
}

// namesEndpoints reports whether each endpoint has a host name.
func (b backend) namesEndpoints() bool {
	return b.To.named() || !slices.ContainsFunc(b.To.Endpoints, func(e listedEndpoint) bool { return e.Hostname == "" })
}

// usable reports whether requests can be sent to the backend.
func (b backend) usable() bool { return b.To != nil && (b.TLS == nil || b.TLS.Usable) }

// wayToTLS says how TLS to the backend is asked for.
func (b backend) wayToTLS() string {
	way := fmt.Sprintf("create a %s for the %s", backendtls.Kind, b.To.Kind.name)
	if b.To.Kind.name == v1alpha1.KindBackend {
		way = "write tls into it, or " + way
	}
	return way
}

// ofRequests reports whether the server name for the backend is the host of each request.
func (b backend) ofRequests() bool { return b.TLS != nil && b.TLS.OfRequests() }

// namedApart returns a backend whose server name is the host of each request, and one whose is its own, which cannot be
// in one cluster. If there is no such pair, one of them is nil.
func namedApart(backends []backend) (ofRequests, ofItself *backend) {
	secured := slices.DeleteFunc(slices.Clone(backends), func(b backend) bool { return b.TLS == nil })
	return split(secured, backend.ofRequests)
}

// nameServers sets that the server name is the host of each request, if it is so for a backend of the cluster, and that
// its certificate must be for it.
func (c *clusterUse) nameServers(options *upstreamhttpv3.HttpProtocolOptions) {
	if !slices.ContainsFunc(c.Backends, backend.ofRequests) {
		return
	}
	if options.UpstreamHttpProtocolOptions == nil {
		options.UpstreamHttpProtocolOptions = &corev3.UpstreamHttpProtocolOptions{}
	}
	options.UpstreamHttpProtocolOptions.AutoSni = true
	options.UpstreamHttpProtocolOptions.AutoSanValidation = slices.ContainsFunc(c.Backends, func(b backend) bool {
		return b.ofRequests() && !b.TLS.Unverified()
	})
}

// offersHTTP1 reports whether a backend of the cluster is offered no HTTP/2 in the TLS handshake.
func (c *clusterUse) offersHTTP1() bool {
	return slices.ContainsFunc(c.Backends, func(b backend) bool {
		own := b.TLS.Own
		return own != nil && own.ALPNProtocols != nil && !slices.Contains(own.ALPNProtocols, "h2")
	})
}
