package issuer

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// wrongSetting is the first annotation beside that of the issuer that cert-manager 1.21 cannot read. It then issues nothing.
func wrongSetting(annotations map[string]string) string {
	for _, s := range settings {
		if value, ok := annotations[s.key]; ok && !s.valid(value, annotations) {
			return fmt.Sprintf("%q in annotation %s is wrong: use %s", value, s.key, s.instead)
		}
	}
	return ""
}

// valid reports whether cert-manager can read the value of an annotation, beside others.
type valid func(value string, annotations map[string]string) bool

// settings are the annotations beside that of the issuer that have a form.
var settings = []struct {
	key, instead string
	valid        valid
}{
	{cmv1.DurationAnnotationKey, "a duration such as 2160h", isDuration},
	{cmv1.RenewBeforeAnnotationKey, "a duration such as 360h", isDuration},
	{cmv1.RenewBeforePercentageAnnotationKey, "a number such as 33", isNumber(-1 << 31)},
	{cmv1.UsagesAnnotationKey, "usages such as server auth, with commas between them", areUsages},
	{cmv1.RevisionHistoryLimitAnnotationKey, "a number from 1 on", isNumber(1)},
	{cmv1.PrivateKeyAlgorithmAnnotationKey, "RSA, ECDSA or Ed25519", oneOf(cmv1.RSAKeyAlgorithm,
		cmv1.ECDSAKeyAlgorithm, cmv1.Ed25519KeyAlgorithm)},
	{cmv1.PrivateKeyEncodingAnnotationKey, "PKCS1 or PKCS8", oneOf(cmv1.PKCS1, cmv1.PKCS8)},
	{cmv1.PrivateKeySizeAnnotationKey, "2048 to 8192 for RSA, which is the default, and 256, 384 or 521 for ECDSA", isKeySize},
	{cmv1.PrivateKeyRotationPolicyAnnotationKey, "Never or Always", oneOf(cmv1.RotationPolicyNever,
		cmv1.RotationPolicyAlways)},
	{cmv1.IngressSecretTemplate, "JSON with annotations and labels, and no annotation of cert-manager.io", isTemplate},
	{cmv1.SubjectOrganizationsAnnotationKey, oneLine, isList},
	{cmv1.SubjectOrganizationalUnitsAnnotationKey, oneLine, isList},
	{cmv1.SubjectCountriesAnnotationKey, oneLine, isList},
	{cmv1.SubjectProvincesAnnotationKey, oneLine, isList},
	{cmv1.SubjectLocalitiesAnnotationKey, oneLine, isList},
	{cmv1.SubjectPostalCodesAnnotationKey, oneLine, isList},
	{cmv1.SubjectStreetAddressesAnnotationKey, oneLine, isList},
}

func isDuration(value string, _ map[string]string) bool {
	_, err := time.ParseDuration(value)
	return err == nil
}

func isNumber(least int64) valid {
	return func(value string, _ map[string]string) bool {
		n, err := strconv.ParseInt(value, 10, 32)
		return err == nil && n >= least
	}
}

func oneOf[T ~string](values ...T) valid {
	return func(value string, _ map[string]string) bool { return slices.Contains(values, T(value)) }
}

// usages are what a certificate may be for.
var usages = []cmv1.KeyUsage{
	cmv1.UsageSigning, cmv1.UsageDigitalSignature, cmv1.UsageContentCommitment, cmv1.UsageKeyEncipherment, cmv1.UsageKeyAgreement,
	cmv1.UsageDataEncipherment, cmv1.UsageCertSign, cmv1.UsageCRLSign, cmv1.UsageEncipherOnly, cmv1.UsageDecipherOnly, cmv1.UsageAny,
	cmv1.UsageServerAuth, cmv1.UsageClientAuth, cmv1.UsageCodeSigning, cmv1.UsageEmailProtection, cmv1.UsageSMIME,
	cmv1.UsageIPsecEndSystem, cmv1.UsageIPsecTunnel, cmv1.UsageIPsecUser, cmv1.UsageTimestamping, cmv1.UsageOCSPSigning,
	cmv1.UsageMicrosoftSGC, cmv1.UsageNetscapeSGC,
}

func areUsages(value string, _ map[string]string) bool {
	for usage := range strings.SplitSeq(value, ",") {
		if !slices.Contains(usages, cmv1.KeyUsage(strings.Trim(usage, " "))) {
			return false
		}
	}
	return true
}

// isKeySize judges by the algorithm, which is another annotation.
func isKeySize(value string, annotations map[string]string) bool {
	size, err := strconv.Atoi(value)
	switch cmv1.PrivateKeyAlgorithm(annotations[cmv1.PrivateKeyAlgorithmAnnotationKey]) {
	case "", cmv1.RSAKeyAlgorithm:
		return err == nil && size >= 2048 && size <= 8192
	case cmv1.ECDSAKeyAlgorithm:
		return err == nil && slices.Contains([]int{256, 384, 521}, size)
	}
	return err == nil
}

func isTemplate(value string, _ map[string]string) bool {
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.DisallowUnknownFields()
	template := cmv1.CertificateSecretTemplate{}
	if decoder.Decode(&template) != nil {
		return false
	}
	for key := range template.Annotations {
		if strings.HasPrefix(key, "cert-manager.io/") {
			return false
		}
	}
	return true
}

// oneLine is the way out for what is not a list.
const oneLine = "one line of values, with commas between them, and quotation marks around a value that has one"

func isList(value string, _ map[string]string) bool {
	lines, err := csv.NewReader(strings.NewReader(value)).ReadAll()
	return err == nil && len(lines) == 1
}
