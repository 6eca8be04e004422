package translator

import (
	"fmt"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/policies/feature"
	"gatehouse/translator/flow"
)

// A policy may say which certificates of clients are accepted. Envoy gets that by SDS, as a secret that is named after
// the policy. So no connection is drained when CA certificates, lists of revoked certificates or names change.

// clientsPrefix begins the names of these secrets.
const clientsPrefix = "clients/"

// clients is the secret of a policy, nil if it asks clients for no certificates.
func (p *policyRow) clients() *Resource {
	built := feature.NewListener()
	built.TLS = &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{}}
	p.Kind.Listener(p.Policy, p.Have, built)
	if built.Clients == nil || p.Broken {
		return nil
	}
	name := clientsPrefix + keyOf(p.Policy)
	return resource(&tlsv3.Secret{
		Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: built.Clients},
	}, name)
}

// refusing is what a listener has on which the policy has no effect. It is nil, which are the defaults, unless the policy
// verifies clients: then nobody must get a connection before the routes of the listener fail.
func (p *policyRow) refusing() *policyRow {
	if !p.Traits.VerifiesClients {
		return nil
	}
	return &policyRow{Kind: p.Kind, Policy: p.Kind.New(), Refuses: true}
}

// noCertificate is the hash of no certificate.
var noCertificate = strings.Repeat("0", 64)

// askClients sets on a listener that terminates TLS which certificates of clients are accepted.
func (p *policyRow) askClients(built *feature.Listener) {
	switch {
	case p == nil || built.TLS == nil:
	case p.Refuses:
		built.TLS.RequireClientCertificate = wrapperspb.Bool(true)
		built.TLS.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{VerifyCertificateHash: []string{noCertificate}},
		}
	case p.Clients != nil:
		built.TLS.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
			ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: p.Clients.Name, SdsConfig: feature.OverADS()},
		}
	}
}

// rejectedClients is why the certificates of clients cannot be verified as the policy of a listener says: Envoy rejected
// that, or the Gateway verifies them already.
func (t *Tables) rejectedClients(r *flow.Read, l *listenerRow, own *listenerPolicyRow) (none listenerConflict) {
	clients := own.Policy.Clients
	if clients == nil || !l.protocol().tls {
		return none
	}
	if l.Clients != nil {
		return listenerConflict{Target: own.Target, Message: fmt.Sprintf(
			"the Gateway asks clients of listener %q for certificates (spec.tls.frontend), and the policy does too, so what the policy "+
				"covers there is not served: remove tls.clientValidation, or the setting of the Gateway for port %d",
			l.Spec.Name, l.Spec.Port)}
	}
	q, _ := t.quarantines.Get(r, l.fleet())
	if words, rejected := q[clients.Version]; rejected {
		return listenerConflict{Target: own.Target, Message: fmt.Sprintf(
			"Envoy rejected tls.clientValidation for listener %q, so what the policy covers there is not served: %s: issue new "+
				"certificates or lists, or change it", l.Spec.Name, words)}
	}
	return none
}

// verifyingRow is what a listener accepts of clients by its policy.
type verifyingRow struct {
	Fleet   string
	Clients *Resource
}

func (v verifyingRow) equal(o verifyingRow) bool {
	return v.Fleet == o.Fleet && equalResources(v.Clients, o.Clients)
}

func (t *Tables) verifies(r *flow.Read, _ string, l *listenerRow) (verifyingRow, bool) {
	if !l.Serves || !l.protocol().tls {
		return verifyingRow{}, false
	}
	p := t.policyOfChain(r, l)
	if p == nil || p.Clients == nil {
		return verifyingRow{}, false
	}
	return verifyingRow{Fleet: l.fleet(), Clients: p.Clients}, true
}

func clientsKey(_ string, v verifyingRow) []string { return []string{v.Fleet + "|" + v.Clients.Name} }

// clientsSecret is the secret of a policy in one fleet.
func clientsSecret(_ *flow.Read, _ string, members []flow.Row[verifyingRow]) (*Resource, bool) {
	return members[0].Value.Clients, true
}

// secretsOf names what a listener gets by SDS.
func (t *Tables) secretsOf(r *flow.Read, l *listenerRow) []string {
	names := l.sdsSecrets()
	if v, ok := t.verifying.Get(r, l.Key); ok {
		names = append(slices.Clone(names), v.Clients.Name)
	}
	return names
}
