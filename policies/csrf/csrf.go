// Package csrf is the csrf part of a SecurityPolicy: requests that change something have to come from pages of the host
// that they are for.
package csrf

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	csrfv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
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
	return append(problems, feature.CheckOrigins("csrf.additionalOrigins", spec.CSRF.AdditionalOrigins)...)
}

func route(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, route *feature.Route) {
	if spec.CSRF == nil {
		return
	}
	feature.PerRoute(route.Route, filter, &csrfv3.CsrfPolicy{
		FilterEnabled: fixed(enforced(spec.CSRF.ShadowFraction)), ShadowEnabled: fixed(all()),
		AdditionalOrigins: feature.Origins(spec.CSRF.AdditionalOrigins, feature.Origin.Authority),
	})
}

// connection closes connections: what they carry is not read.
func connection(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, connection *feature.Connection) {
	if spec.CSRF != nil {
		connection.Unprotected = "csrf"
	}
}

func cost(spec *v1alpha1.SecurityPolicySpec) feature.Cost {
	if spec.CSRF == nil {
		return feature.Cost{}
	}
	return feature.Cost{Route: feature.OriginsCost(spec.CSRF.AdditionalOrigins)}
}

func effective(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, e *feature.Effective) {
	if spec.CSRF == nil {
		return
	}
	e.CSRF = &feature.CSRF{Enforced: proto.Equal(enforced(spec.CSRF.ShadowFraction), all())}
	for _, origin := range spec.CSRF.AdditionalOrigins {
		e.CSRF.AdditionalOrigins = append(e.CSRF.AdditionalOrigins, string(origin))
	}
}

// all are all requests.
func all() *typev3.FractionalPercent { return feature.Portion(&gwapiv1.Fraction{Numerator: 100}) }

// enforced is the share of the requests that are not only counted, rounded up.
func enforced(shadow *gwapiv1.Fraction) *typev3.FractionalPercent {
	share := all()
	if shadow != nil {
		share.Numerator -= feature.Portion(shadow).Numerator
	}
	return share
}

// nobody is the configuration with which the filter does nothing.
func nobody() *csrfv3.CsrfPolicy {
	return &csrfv3.CsrfPolicy{FilterEnabled: fixed(&typev3.FractionalPercent{})}
}

// fixed is a share that no runtime of Envoy changes.
func fixed(share *typev3.FractionalPercent) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: share}
}
