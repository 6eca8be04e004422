// Package csrf is the csrf part of a SecurityPolicy: requests that change something have to come from pages of the host
// that they are for.
package csrf

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	csrfv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// filter is the name of the HTTP filter.
const filter = "envoy.filters.http.csrf"

// Feature is the csrf part.
var Feature = feature.Feature[v1alpha1.SecurityPolicySpec]{
	Name:       "csrf",
	Check:      check,
	Route:      route,
	Connection: connection,
	Cost:       cost,
	Effective:  effective,
	Filters:    []feature.Filter{{Name: filter, Config: nobody(), Off: nobody()}},
}

func check(spec *v1alpha1.SecurityPolicySpec) (problems []verdict.Problem) {
	if spec.CSRF == nil {
		return nil
	}
	if fraction := spec.CSRF.ShadowFraction; fraction != nil {
		problems = feature.CheckFraction("csrf.shadowFraction", fraction)
	}
	for i, origin := range spec.CSRF.AdditionalOrigins {
		if _, err := feature.ParseOrigin(string(origin)); err != nil {
			problems = append(problems, feature.Invalid(fmt.Sprintf("csrf.additionalOrigins[%d]", i), "%v", err))
		}
	}
	return problems
}

func route(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, route *feature.Route) {
	if spec.CSRF == nil {
		return
	}
	config := &csrfv3.CsrfPolicy{
		FilterEnabled: enforced(spec.CSRF.ShadowFraction),
		ShadowEnabled: fixed(&typev3.FractionalPercent{Numerator: whole, Denominator: typev3.FractionalPercent_MILLION}),
	}
	for _, origin := range spec.CSRF.AdditionalOrigins {
		if o, err := feature.ParseOrigin(string(origin)); err == nil {
			config.AdditionalOrigins = append(config.AdditionalOrigins, o.Authority())
		}
	}
	feature.PerRoute(route.Route, filter, config)
}

// connection closes connections: what they carry is not read.
func connection(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, connection *feature.Connection) {
	if spec.CSRF != nil {
		connection.Unprotected = "csrf"
	}
}

func cost(spec *v1alpha1.SecurityPolicySpec) (cost feature.Cost) {
	if spec.CSRF == nil {
		return cost
	}
	for _, origin := range spec.CSRF.AdditionalOrigins {
		if o, err := feature.ParseOrigin(string(origin)); err == nil {
			cost.Route += feature.Expressions(o.Authority().GetSafeRegex().GetRegex())
		}
	}
	return cost
}

func effective(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, e *feature.Effective) {
	if spec.CSRF == nil {
		return
	}
	e.CSRF = &feature.CSRF{Enforced: enforced(spec.CSRF.ShadowFraction).DefaultValue.Numerator == whole}
	for _, origin := range spec.CSRF.AdditionalOrigins {
		e.CSRF.AdditionalOrigins = append(e.CSRF.AdditionalOrigins, string(origin))
	}
}

// whole is all of a share in millionths.
const whole = 1_000_000

// enforced is the share of the requests that are not only counted, rounded up.
func enforced(shadow *gwapiv1.Fraction) *corev3.RuntimeFractionalPercent {
	if shadow == nil {
		shadow = &gwapiv1.Fraction{}
	}
	share := feature.Portion(shadow)
	share.Numerator = whole - share.Numerator
	return fixed(share)
}

// nobody is the configuration with which the filter does nothing.
func nobody() *csrfv3.CsrfPolicy {
	return &csrfv3.CsrfPolicy{FilterEnabled: fixed(&typev3.FractionalPercent{})}
}

// fixed is a share that no runtime of Envoy changes.
func fixed(share *typev3.FractionalPercent) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: share}
}
