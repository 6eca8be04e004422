// Package clienttls is the tls part of a ClientTrafficPolicy: how TLS with clients is terminated, and which certificates
// of clients are accepted.
package clienttls

import (
	"slices"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/tlssettings"
)

// Feature is the tls part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:  "tls",
	Check: check,
	Needs: needs,
	Keys: []feature.ContentKey{
		{Kind: "ConfigMap", Key: revocationsKey}, {Kind: "Secret", Key: revocationsKey},
	},
	Listener:  listener,
	Traits:    traits,
	Effective: effective,
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, have feature.Have, l *feature.Listener) {
	var tls v1alpha1.ClientTLSSettings
	if spec.TLS != nil {
		tls = *spec.TLS
	}
	l.Inspector.EnableJa3Fingerprinting = wanted(&tls, v1alpha1.TLSFingerprintJA3)
	l.Inspector.EnableJa4Fingerprinting = wanted(&tls, v1alpha1.TLSFingerprintJA4)
	if l.TLS == nil {
		return
	}
	if l.TLS.CommonTlsContext == nil {
		l.TLS.CommonTlsContext = &tlsv3.CommonTlsContext{}
	}
	common := l.TLS.CommonTlsContext
	common.TlsParams = parameters(&tls.TLSSettings)
	if tls.ALPNProtocols != nil {
		common.AlpnProtocols = nil
		for _, protocol := range tls.ALPNProtocols {
			common.AlpnProtocols = append(common.AlpnProtocols, string(protocol))
		}
	}
	resume(tls.Session, l.TLS)
	validate(tls.ClientValidation, have, l)
}

// wanted is nil for a fingerprint that is not wanted.
func wanted(tls *v1alpha1.ClientTLSSettings, fingerprint v1alpha1.TLSFingerprint) *wrapperspb.BoolValue {
	if !slices.Contains(tls.Fingerprints, fingerprint) {
		return nil
	}
	return wrapperspb.Bool(true)
}

// parameters are nil if nothing is set.
func parameters(tls *v1alpha1.TLSSettings) *tlsv3.TlsParameters {
	if tls.MinVersion == nil && tls.MaxVersion == nil && len(tls.Ciphers)+len(tls.ECDHCurves)+len(tls.SignatureAlgorithms) == 0 {
		return nil
	}
	return tlssettings.Parameters(tls)
}

// resume says which sessions can be resumed. None can by default.
func resume(session *v1alpha1.Session, context *tlsv3.DownstreamTlsContext) {
	var kinds v1alpha1.SessionResumption
	if session != nil && session.Resumption != nil {
		kinds = *session.Resumption
	}
	context.DisableStatefulSessionResumption = kinds.Stateful == nil
	context.SessionTicketKeysType = &tlsv3.DownstreamTlsContext_DisableStatelessSessionResumption{
		DisableStatelessSessionResumption: kinds.Stateless == nil,
	}
}

func traits(spec *v1alpha1.ClientTrafficPolicySpec) feature.Traits {
	return feature.Traits{VerifiesClients: spec.TLS != nil && spec.TLS.ClientValidation != nil &&
		modeOf(spec.TLS.ClientValidation).verify}
}
