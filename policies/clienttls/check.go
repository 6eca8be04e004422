package clienttls

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

func check(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
	if spec.TLS == nil {
		return nil
	}
	problems := checkSettings(&spec.TLS.TLSSettings)
	if spec.HTTP3 != nil && spec.TLS.MaxVersion != nil && *spec.TLS.MaxVersion < v1alpha1.TLSv13 {
		problems = append(problems, feature.Invalid("tls.maxVersion",
			"http3 needs TLS 1.3, and %s is the newest version here: remove one of the two fields", *spec.TLS.MaxVersion))
	}
	if v := spec.TLS.ClientValidation; v != nil {
		problems = append(problems, checkValidation(v)...)
	}
	return problems
}

// ciphers are the cipher suites that Envoy supports. The keys are OpenSSL's names, the values those of IANA. Envoy accepts both.
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

// curves and signatures are the curves and the signature algorithms that Envoy supports, with every name that it accepts.
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

func checkSettings(tls *v1alpha1.TLSSettings) []verdict.Problem {
	problems := checkVersions(tls)
	for i, group := range tls.Ciphers {
		problems = append(problems, checkCiphers(fmt.Sprintf("tls.ciphers[%d]", i), group)...)
	}
	problems = append(problems, checkEach("tls.ecdhCurves", tls.ECDHCurves, curves)...)
	problems = append(problems, checkEach("tls.signatureAlgorithms", tls.SignatureAlgorithms, signatures)...)
	for i, protocol := range tls.ALPNProtocols {
		if len(protocol) == 0 || len(protocol) > 255 || strings.Contains(string(protocol), ",") {
			problems = append(problems, feature.Invalid(fmt.Sprintf("tls.alpnProtocols[%d]", i),
				"%q cannot be the name of a protocol: write 1 to 255 bytes without a comma, such as h2 or http/1.1", protocol))
		}
	}
	for i, fingerprint := range tls.Fingerprints {
		problems = append(problems, feature.CheckChoice(fmt.Sprintf("tls.fingerprints[%d]", i), fingerprint, fingerprints)...)
	}
	return problems
}

var fingerprints = map[v1alpha1.TLSFingerprint]bool{v1alpha1.TLSFingerprintJA3: true, v1alpha1.TLSFingerprintJA4: true}

func checkVersions(tls *v1alpha1.TLSSettings) (problems []verdict.Problem) {
	if tls.MinVersion != nil {
		problems = append(problems, feature.CheckChoice("tls.minVersion", *tls.MinVersion, versions)...)
	}
	if tls.MaxVersion != nil {
		problems = append(problems, feature.CheckChoice("tls.maxVersion", *tls.MaxVersion, versions)...)
	}
	lowest, highest := v1alpha1.TLSv12, v1alpha1.TLSv13
	if tls.MinVersion != nil && *tls.MinVersion != v1alpha1.TLSAuto {
		lowest = *tls.MinVersion
	}
	if tls.MaxVersion != nil && *tls.MaxVersion != v1alpha1.TLSAuto {
		highest = *tls.MaxVersion
	}
	if len(problems) == 0 && lowest > highest {
		problems = append(problems, feature.Invalid("tls.maxVersion",
			"%s is older than minVersion, which is %s: write a newer maxVersion, or an older minVersion", highest, lowest))
	}
	if lowest == v1alpha1.TLSv13 && len(tls.Ciphers) > 0 {
		problems = append(problems, feature.Invalid("tls.ciphers",
			"TLS 1.3 has ciphers of its own, which cannot be chosen: remove ciphers, or allow an older version with minVersion"))
	}
	return problems
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

func checkValidation(v *v1alpha1.ClientValidationContext) (problems []verdict.Problem) {
	if v.Mode != nil {
		problems = append(problems, feature.CheckChoice(validation+".mode", *v.Mode, modes)...)
	}
	asked := modeOf(v)
	if v.AllowExpiredCertificate && !asked.verify {
		problems = append(problems, feature.Invalid(validation+".allowExpiredCertificate",
			"certificates are not verified in mode %s, so their age does not matter: remove the field, or write mode "+
				"VerifyIfGiven or RequireAndVerify", nameOf(v)))
	}
	if len(v.CACertificateRefs) == 0 {
		problems = append(problems, withoutAuthorities(v, asked)...)
	}
	for i, hash := range v.SPKIHashes {
		if sum, err := base64.StdEncoding.DecodeString(hash); err != nil || len(sum) != 32 {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s.spkiHashes[%d]", validation, i),
				"%q is not a SHA-256 in base64: write 44 characters, as openssl dgst -sha256 -binary and base64 make them of the key",
				hash))
		}
	}
	for i, hash := range v.CertificateHashes {
		if !certificateHash(hash) {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s.certificateHashes[%d]", validation, i),
				"%q is not a SHA-256: write 64 hexadecimal digits, or 32 pairs of them with colons between, as openssl x509 "+
					"-fingerprint -sha256 shows them", hash))
		}
	}
	if v.CRL != nil && len(v.CRL.Refs) == 0 {
		problems = append(problems, feature.Invalid(validation+".crl.refs",
			"there is no reference: name the Secret or ConfigMap that has the lists, or remove crl"))
	}
	return append(problems, checkNames(v.SubjectAltNames)...)
}

// withoutAuthorities finds what needs authorities. Without them anybody can issue a certificate with any content.
func withoutAuthorities(v *v1alpha1.ClientValidationContext, asked mode) (problems []verdict.Problem) {
	needed := func(field, why string) {
		problems = append(problems, feature.Invalid(validation+"."+field, "%s: write caCertificateRefs, or remove it", why))
	}
	if v.SubjectAltNames != nil {
		needed("subjectAltNames", "without an authority that is trusted, anybody can have a certificate with these names")
	}
	if v.CRL != nil {
		needed("crl", "without an authority that is trusted, a list says nothing")
	}
	if v.AllowExpiredCertificate {
		needed("allowExpiredCertificate", "without an authority that is trusted, the age of certificates is not checked")
	}
	if asked.verify && len(v.SPKIHashes)+len(v.CertificateHashes) == 0 {
		problems = append(problems, feature.Invalid(authorities,
			"mode %s has nothing to verify certificates by: write caCertificateRefs, or spkiHashes, or certificateHashes", nameOf(v)))
	}
	return problems
}

func certificateHash(hash string) bool {
	if strings.Contains(hash, ":") {
		pairs := strings.Split(hash, ":")
		if slices.ContainsFunc(pairs, func(pair string) bool { return len(pair) != 2 }) {
			return false
		}
		hash = strings.Join(pairs, "")
	}
	sum, err := hex.DecodeString(hash)
	return err == nil && len(sum) == 32
}

// oid is the form of an object identifier.
var oid = regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]{0,15})){1,32}$`)

func checkNames(s *v1alpha1.SubjectAltNames) (problems []verdict.Problem) {
	if s == nil {
		return nil
	}
	field := validation + ".subjectAltNames."
	if len(names(s)) == 0 {
		return []verdict.Problem{feature.Invalid(strings.TrimSuffix(field, "."),
			"there is no name: write one, or remove subjectAltNames")}
	}
	for _, kind := range sans(s) {
		for i := range kind.matches {
			problems = append(problems, feature.CheckStringMatch(fmt.Sprintf("%s%s[%d]", field, kind.field, i),
				&kind.matches[i])...)
		}
	}
	for i := range s.OtherNames {
		at := fmt.Sprintf("%sotherNames[%d]", field, i)
		if !oid.MatchString(s.OtherNames[i].OID) {
			problems = append(problems, feature.Invalid(at+".oid",
				"%q is not an object identifier: write numbers with dots between, such as 1.3.6.1.4.1.311.20.2.3",
				s.OtherNames[i].OID))
		}
		problems = append(problems, feature.CheckStringMatch(at, &s.OtherNames[i].StringMatch)...)
	}
	return problems
}
