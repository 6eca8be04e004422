// Package tlssettings is the versions and algorithms of TLS, for the kinds that have them.
package tlssettings

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// versions are Envoy's.
var versions = map[v1alpha1.TLSVersion]tlsv3.TlsParameters_TlsProtocol{
	v1alpha1.TLSAuto: tlsv3.TlsParameters_TLS_AUTO,
	v1alpha1.TLSv10:  tlsv3.TlsParameters_TLSv1_0,
	v1alpha1.TLSv11:  tlsv3.TlsParameters_TLSv1_1,
	v1alpha1.TLSv12:  tlsv3.TlsParameters_TLSv1_2,
	v1alpha1.TLSv13:  tlsv3.TlsParameters_TLSv1_3,
}

// ciphers has the ciphers that Envoy supports: from the name in OpenSSL to the name in the registry of IANA.
var ciphers = map[string]string{
	"ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
	"ECDHE-RSA-AES128-GCM-SHA256":   "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
	"ECDHE-RSA-AES256-GCM-SHA384":   "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
	"ECDHE-RSA-CHACHA20-POLY1305":   "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	"ECDHE-ECDSA-AES128-SHA":        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
	"ECDHE-RSA-AES128-SHA":          "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
	"AES128-GCM-SHA256":             "TLS_RSA_WITH_AES_128_GCM_SHA256",
	"AES128-SHA":                    "TLS_RSA_WITH_AES_128_CBC_SHA",
	"ECDHE-ECDSA-AES256-SHA":        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
	"ECDHE-RSA-AES256-SHA":          "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
	"AES256-GCM-SHA384":             "TLS_RSA_WITH_AES_256_GCM_SHA384",
	"AES256-SHA":                    "TLS_RSA_WITH_AES_256_CBC_SHA",
}

// curves and signatures are the names that Envoy accepts.
var (
	curves     = []string{"P-256", "P-384", "P-521", "X25519", "X25519MLKEM768", "prime256v1", "secp384r1", "secp521r1"}
	signatures = []string{
		"ECDSA+SHA256", "ECDSA+SHA384", "ECDSA+SHA512", "RSA+SHA256", "RSA+SHA384", "RSA+SHA512",
		"RSA-PSS+SHA256", "RSA-PSS+SHA384", "RSA-PSS+SHA512",
		"ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512", "ed25519",
		"rsa_pkcs1_sha1", "rsa_pkcs1_sha256", "rsa_pkcs1_sha384", "rsa_pkcs1_sha512",
		"rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512",
	}
)

// Check finds what is wrong with the settings. Field is their path, such as tls.
func Check(field string, tls *v1alpha1.TLSSettings) (problems []verdict.Problem) {
	if problems := checkLengths(field, tls); len(problems) > 0 {
		return problems
	}
	problems = checkVersions(field, tls)
	for i, group := range tls.Ciphers {
		problems = append(problems, checkCiphers(fmt.Sprintf("%s.ciphers[%d]", field, i), group)...)
	}
	problems = append(problems, checkEach(field+".ecdhCurves", tls.ECDHCurves, curves)...)
	problems = append(problems, checkEach(field+".signatureAlgorithms", tls.SignatureAlgorithms, signatures)...)
	for i, protocol := range tls.ALPNProtocols {
		if len(protocol) == 0 || len(protocol) > 255 || strings.Contains(string(protocol), ",") {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s.alpnProtocols[%d]", field, i),
				"%q cannot be the name of a protocol: write 1 to 255 bytes without a comma, such as h2 or http/1.1", protocol))
		}
	}
	for i, fingerprint := range tls.Fingerprints {
		problems = append(problems, feature.CheckChoice(fmt.Sprintf("%s.fingerprints[%d]", field, i), fingerprint, fingerprints)...)
	}
	return problems
}

// most is the maximum length of a list. Envoy supports fewer of each. The API server has no limit, and each wrong entry is a
// problem that is kept.
const most = 100

func checkLengths(field string, tls *v1alpha1.TLSSettings) (problems []verdict.Problem) {
	ciphers := 0
	for _, group := range tls.Ciphers {
		ciphers += 1 + strings.Count(group, "|")
	}
	for _, list := range []struct {
		name   string
		length int
	}{
		{"ciphers", ciphers},
		{"ecdhCurves", len(tls.ECDHCurves)},
		{"signatureAlgorithms", len(tls.SignatureAlgorithms)},
		{"alpnProtocols", len(tls.ALPNProtocols)},
		{"fingerprints", len(tls.Fingerprints)},
	} {
		if list.length > most {
			problems = append(problems, feature.Invalid(field+"."+list.name, "%d entries are more than the %d that are allowed: remove some",
				list.length, most))
		}
	}
	return problems
}

var fingerprints = map[v1alpha1.TLSFingerprint]bool{v1alpha1.TLSFingerprintJA3: true, v1alpha1.TLSFingerprintJA4: true}

func checkVersions(field string, tls *v1alpha1.TLSSettings) (problems []verdict.Problem) {
	lowest, highest := v1alpha1.TLSv12, v1alpha1.TLSv13
	if tls.MinVersion != nil {
		problems = append(problems, feature.CheckChoice(field+".minVersion", *tls.MinVersion, versions)...)
		lowest = given(tls.MinVersion, lowest)
	}
	if tls.MaxVersion != nil {
		problems = append(problems, feature.CheckChoice(field+".maxVersion", *tls.MaxVersion, versions)...)
		highest = given(tls.MaxVersion, highest)
	}
	if len(problems) == 0 && lowest > highest {
		problems = append(problems, feature.Invalid(field+".maxVersion",
			"%s is older than minVersion, which is %s: write a newer maxVersion, or an older minVersion", highest, lowest))
	}
	if lowest == v1alpha1.TLSv13 && len(tls.Ciphers) > 0 {
		problems = append(problems, feature.Invalid(field+".ciphers",
			"TLS 1.3 has ciphers of its own, which cannot be chosen: remove ciphers, or allow an older version with minVersion"))
	}
	return problems
}

// given is a version, or the default if it is not given or Auto.
func given(version *v1alpha1.TLSVersion, otherwise v1alpha1.TLSVersion) v1alpha1.TLSVersion {
	if version == nil || *version == v1alpha1.TLSAuto {
		return otherwise
	}
	return *version
}

// Parameters are Envoy's. The versions are 1.2 and 1.3 if nothing says otherwise. They are always written, because 1.2 is
// the newest one that Envoy uses as a client by itself.
func Parameters(tls *v1alpha1.TLSSettings) *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{
		CipherSuites: tls.Ciphers, EcdhCurves: tls.ECDHCurves, SignatureAlgorithms: tls.SignatureAlgorithms,
		TlsMinimumProtocolVersion: versions[given(tls.MinVersion, v1alpha1.TLSv12)],
		TlsMaximumProtocolVersion: versions[given(tls.MaxVersion, v1alpha1.TLSv13)],
	}
}

// checkCiphers finds names that Envoy does not have, in a cipher or a group of equally preferred ones.
func checkCiphers(field, group string) (problems []verdict.Problem) {
	all := []string{group}
	if inner, ok := strings.CutPrefix(group, "["); ok && strings.HasSuffix(inner, "]") {
		all = strings.Split(strings.TrimSuffix(inner, "]"), "|")
	}
	for _, cipher := range all {
		if _, ok := ciphers[cipher]; !ok && !slices.Contains(slices.Collect(maps.Values(ciphers)), cipher) {
			problems = append(problems, feature.Invalid(field, "%q is not a cipher that Envoy has: write %s", cipher,
				verdict.Or(slices.Sorted(maps.Keys(ciphers)))))
		}
	}
	return problems
}

// checkEach finds values that Envoy does not have, and those that are there twice, which Envoy rejects.
func checkEach(field string, values, known []string) (problems []verdict.Problem) {
	for i, value := range values {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !slices.Contains(known, value):
			problems = append(problems, feature.Invalid(at, "%q is not one that Envoy has: write %s", value, verdict.Or(known)))
		case slices.Contains(values[:i], value):
			problems = append(problems, feature.Invalid(at, "%q is there twice: remove one of the two", value))
		}
	}
	return problems
}
