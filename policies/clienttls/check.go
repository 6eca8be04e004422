package clienttls

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/tlssettings"
	"gatehouse/policies/verdict"
)

func check(spec *v1alpha1.ClientTrafficPolicySpec) []verdict.Problem {
	if spec.TLS == nil {
		return nil
	}
	problems := tlssettings.Check("tls", &spec.TLS.TLSSettings)
	if spec.HTTP3 != nil && spec.TLS.MaxVersion != nil && *spec.TLS.MaxVersion < v1alpha1.TLSv13 {
		problems = append(problems, feature.Invalid("tls.maxVersion",
			"http3 needs TLS 1.3, and %s is the newest version here: remove one of the two fields", *spec.TLS.MaxVersion))
	}
	if v := spec.TLS.ClientValidation; v != nil {
		problems = append(problems, checkValidation(v)...)
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
