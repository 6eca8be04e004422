package translator

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/backendtls"
	"gatehouse/policies/certificate"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// The content of Secrets, ConfigMaps and ClusterTrustBundles is parsed once for all who use it, and only if somebody
// does: most of those in a cluster have nothing to do with Gateways.

// declareContent: what is parsed of Secrets, ConfigMaps and ClusterTrustBundles.
func (t *Tables) declareContent() {
	t.content = flow.Concat("used content", flow.Same[contentUse],
		flow.Expand(t.in.gateways, "content of Gateways", flow.Same[contentUse], t.gatewayContent),
		flow.Expand(t.in.listenerSets, "content of ListenerSets", flow.Same[contentUse], t.listenerSetContent),
		flow.Expand(t.in.policies, "content of policies", flow.Same[contentUse], t.policyContent),
		flow.Expand(t.in.backendTLS, "content of backend TLS policies", flow.Same[contentUse], backendTLSContent),
		flow.Expand(t.in.backends, "content of Backends", flow.Same[contentUse], listedContent))
	t.usedCerts = flow.Group(flow.NewIndex(t.content, "certificates", usedCertificates),
		"used certificates", flow.Same[bool], isUsed)
	t.certs = flow.Derive(t.usedCerts, "certificates", (*certificateRow).equal, t.certificate)
	t.declareIssuances(t.usedCerts)
	t.untimely = flow.Derive(t.certs, "untimely certificates", equalUntimely, t.untimelyCertificate)
	t.ending = flow.Derive(t.certs, "ending certificates", flow.Same[endingRow], t.endingCertificate)
	authorities := flow.Group(flow.NewIndex(t.content, "CA certificates", usedAuthorities),
		"used CA certificates", flow.Same[bool], isUsed)
	t.authorities = flow.Derive(authorities, "CA certificates", (*authorityRow).equal, t.authority)
}

// contentUse is one object's reference to a certificate or to CA certificates.
type contentUse struct {
	Certificate bool
	Target      verdict.Ref
	// Owner and Field are the object with the reference and its path. They are empty for references of listeners, and for
	// those to CA certificates.
	Owner verdict.Ref
	Field string
}

// usedContent makes rows of what an object refers to. Whether a reference is allowed is judged where it is followed.
func usedContent(owner string, uses []contentUse) []flow.Row[contentUse] {
	rows := make([]flow.Row[contentUse], len(uses))
	for i, u := range uses {
		rows[i] = flow.Row[contentUse]{Key: fmt.Sprintf("%s|%d", owner, i), Value: u}
	}
	return rows
}

func (t *Tables) gatewayContent(r *flow.Read, key string, g *gwapiv1.Gateway) []flow.Row[contentUse] {
	if _, _, ours := t.classOf(r, key, g); !ours {
		return nil
	}
	var uses []contentUse
	for i := range g.Spec.Listeners {
		uses = append(uses, certificateUses(g.Namespace, g.Spec.Listeners[i].TLS)...)
	}
	if g.Spec.TLS == nil {
		return usedContent("Gateway/"+key, uses)
	}
	uses = append(uses, neededContent(gatewayRef(g), policies.NeedsOfGateway(g))...)
	if f := g.Spec.TLS.Frontend; f != nil {
		for _, ref := range clientAuthorities(g, f.Default.Validation) {
			uses = append(uses, contentUse{Target: ref})
		}
		for i := range f.PerPort {
			for _, ref := range clientAuthorities(g, f.PerPort[i].TLS.Validation) {
				uses = append(uses, contentUse{Target: ref})
			}
		}
	}
	return usedContent("Gateway/"+key, uses)
}

func (t *Tables) listenerSetContent(r *flow.Read, key string, s *gwapiv1.ListenerSet) []flow.Row[contentUse] {
	parent, _ := parentKeyOf(s)
	g, ok := t.in.gateways.Get(r, parent)
	if !ok {
		return nil
	}
	if _, _, ours := t.classOf(r, parent, g); !ours {
		return nil
	}
	var uses []contentUse
	for i := range s.Spec.Listeners {
		uses = append(uses, certificateUses(s.Namespace, s.Spec.Listeners[i].TLS)...)
	}
	return usedContent("ListenerSet/"+key, uses)
}

func backendTLSContent(_ *flow.Read, key string, p *gwapiv1.BackendTLSPolicy) []flow.Row[contentUse] {
	return usedContent("BackendTLSPolicy/"+key, neededContent(verdict.Ref{Group: gwapiv1.GroupName, Kind: backendtls.Kind, Namespace: p.Namespace, Name: p.Name}, backendtls.Needs(p)))
}

func listedContent(_ *flow.Read, key string, b *v1alpha1.Backend) []flow.Row[contentUse] {
	return usedContent("Backend/"+key, neededContent(backendRefOf(b), backendtls.NeedsOfBackend(b)))
}

func (t *Tables) policyContent(_ *flow.Read, key string, p policies.Object) []flow.Row[contentUse] {
	needs := t.needs(kindOf(key), p)
	return usedContent("Policy/"+key, append(neededContent(kindOf(key).Ref(p), needs), t.limiterContent(needs)...))
}

// neededContent are the certificates and CA certificates among the needs of an object.
func neededContent(owner verdict.Ref, needs []feature.Need) (uses []contentUse) {
	for _, need := range needs {
		if need.Certificate != nil {
			uses = append(uses, contentUse{
				Certificate: true, Target: secretOf(owner.Namespace, *need.Certificate), Owner: owner,
				Field: policies.SpecField + "." + need.Field,
			})
		}
		if need.Authorities != nil {
			for _, ref := range needed(need.Authorities, owner.Namespace) {
				uses = append(uses, contentUse{Target: ref})
			}
		}
	}
	return uses
}

func certificateUses(namespace string, tls *gwapiv1.ListenerTLSConfig) (uses []contentUse) {
	if tls == nil {
		return nil
	}
	for _, ref := range tls.CertificateRefs {
		uses = append(uses, contentUse{Certificate: true, Target: secretOf(namespace, ref)})
	}
	return uses
}

func usedCertificates(_ string, u contentUse) []string {
	if !u.Certificate {
		return nil
	}
	return []string{Key(u.Target.Namespace, u.Target.Name)}
}

func usedAuthorities(_ string, u contentUse) []string {
	if u.Certificate {
		return nil
	}
	return []string{dataKey(u.Target)}
}

// isUsed is the row of what somebody uses.
func isUsed(*flow.Read, string, []flow.Row[contentUse]) (bool, bool) { return true, true }

// certificateRow is a Secret with a certificate that somebody uses.
type certificateRow struct {
	// Resource is what Envoy gets for a listener, nil when the Secret is broken.
	Resource *Resource
	// Broken says what is wrong with the Secret's content, in a text that fits behind "Secret x/y ".
	Broken string
	// Pair is what is known of the certificate, nil when the Secret is broken.
	Pair *certificate.Pair
}

func (c *certificateRow) equal(o *certificateRow) bool {
	return c.Broken == o.Broken && equalResources(c.Resource, o.Resource) && c.Pair.Equal(o.Pair)
}

func (t *Tables) certificate(r *flow.Read, key string, _ bool) (*certificateRow, bool) {
	s, ok := t.in.secrets.Get(r, key)
	if !ok {
		return nil, false
	}
	if s.Type != corev1.SecretTypeTLS {
		// The API server stores a Secret without a type as one of type Opaque, and files may not say so.
		stored := cmp.Or(s.Type, corev1.SecretTypeOpaque)
		return &certificateRow{Broken: fmt.Sprintf("is of type %q: only %q can be served", stored, corev1.SecretTypeTLS)},
			true
	}
	pair, err := certificate.Parse(s.Data)
	if err != nil {
		return &certificateRow{Broken: err.Error()}, true
	}
	return &certificateRow{Resource: servedCertificate(s, pair), Pair: pair}, true
}

// untimelyCertificate checks whether a certificate is valid now. One that is valid has no row.
func (t *Tables) untimelyCertificate(r *flow.Read, _ string, row *certificateRow) (*certificate.Untimely, bool) {
	now, ok := t.in.clock.Get(r, clockKey)
	if !ok || row.Pair == nil {
		return nil, false
	}
	untimely := row.Pair.At(now)
	return untimely, untimely != nil
}

// early reports whether the certificate of a Secret is not valid yet. It is not served before it is, so that running proxies
// keep the one before.
func (t *Tables) early(r *flow.Read, key string) bool {
	untimely, ok := t.untimely.Get(r, key)
	return ok && untimely.Early
}

func equalUntimely(a, b *certificate.Untimely) bool { return *a == *b }

// nextMoment is when the clock must be set again: when a certificate in use begins or ends to be valid, or ends soon,
// when content of a policy begins or ends to be valid, and at the latest after clockStep.
func (t *Tables) nextMoment(r *flow.Read, now time.Time) time.Time {
	next := now.Add(clockStep)
	for _, row := range t.certs.All(r) {
		if row.Value.Pair == nil {
			continue
		}
		if m := row.Value.Pair.Next(now, t.settings.expiryWarning()); !m.IsZero() && m.Before(next) {
			next = m
		}
	}
	return t.nextLifetime(r, now, next)
}

// authorityRow is the CA certificates of an object that somebody uses.
type authorityRow struct {
	PEM []byte
	// Broken says what is wrong with them, in a text that fits behind "Secret x/y ".
	Broken string
}

func (a *authorityRow) equal(o *authorityRow) bool {
	return a.Broken == o.Broken && bytes.Equal(a.PEM, o.PEM)
}

func (t *Tables) authority(r *flow.Read, id string, _ bool) (*authorityRow, bool) {
	data, ok := t.objectData(r, id)
	if !ok {
		return nil, false
	}
	name := certificate.AuthoritiesIn(data)
	kind, _, _ := strings.Cut(id, "/")
	if kind != ClusterTrustBundles.Kind && !policies.Reads(kind, name) && !certificate.IsAuthorities(data, name) {
		name = certificate.AuthoritiesKey // The caches do not keep other content, so it must not matter in files either.
	}
	if err := certificate.CheckAuthorities(name, data[name]); err != nil {
		return &authorityRow{Broken: err.Error()}, true
	}
	return &authorityRow{PEM: bytes.TrimSpace(data[name])}, true
}

// ConfigMapData is all that a ConfigMap holds, whether it is stored as text or as bytes.
func ConfigMapData(c *corev1.ConfigMap) map[string][]byte {
	data := make(map[string][]byte, len(c.Data)+len(c.BinaryData))
	for name, text := range c.Data {
		data[name] = []byte(text)
	}
	for name, content := range c.BinaryData {
		data[name] = content
	}
	return data
}
