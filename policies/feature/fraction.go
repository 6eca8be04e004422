package feature

import (
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// percent is the default denominator of a fraction (Gateway API, Fraction).
const percent = 100

// million is the finest denominator that Envoy knows.
const million = 1_000_000

// Fraction returns the parts of a fraction.
func Fraction(f *gwapiv1.Fraction) (numerator, denominator int32) {
	return f.Numerator, ptr.Deref(f.Denominator, percent)
}

// CheckFraction finds what is no share from nothing to all.
func CheckFraction(field string, f *gwapiv1.Fraction) []verdict.Problem {
	numerator, denominator := Fraction(f)
	switch {
	case denominator <= 0:
		return []verdict.Problem{Invalid(field+".denominator", "%d is not a denominator: write a number above 0", denominator)}
	case numerator < 0 || numerator > denominator:
		return []verdict.Problem{Invalid(field+".numerator", "%d of %d is not a share: write a number from 0 to %d", numerator,
			denominator, denominator)}
	}
	return nil
}

// Portion returns a fraction in millionths, rounded down. What CheckFraction reports is rounded to nothing or to all.
func Portion(f *gwapiv1.Fraction) *typev3.FractionalPercent {
	numerator, denominator := Fraction(f)
	n := int64(max(numerator, 0)) * million / int64(max(denominator, 1))
	return &typev3.FractionalPercent{Numerator: uint32(min(n, million)), Denominator: typev3.FractionalPercent_MILLION}
}
