package translator

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// mirrors resolves the backends of a rule's RequestMirror filters, in their order. One that cannot be used is dropped, and the rule is
// served without it (Gateway API, HTTPRequestMirrorFilter backendRef).
func (t *Tables) mirrors(r *flow.Read, route *routeRow, rule *gwapiv1.HTTPRouteRule, field string) (backends []backend, problems []verdict.Problem) {
	for i := range rule.Filters {
		spec := rule.Filters[i].RequestMirror
		if rule.Filters[i].Type != gwapiv1.HTTPRouteFilterRequestMirror || spec == nil {
			continue // Another type of filter; one without its spec is not let in by the API server.
		}
		b, problem := t.backend(r, route.referrer(), &gwapiv1.HTTPBackendRef{BackendRef: gwapiv1.BackendRef{BackendObjectReference: spec.BackendRef}})
		if problem != nil {
			problem.Field = fmt.Sprintf("%s.filters[%d].requestMirror.backendRef%s", field, i, problem.Field)
			problem.Condition = string(gwapiv1.RouteConditionResolvedRefs)
			problems = append(problems, *problem)
		}
		backends = append(backends, b)
	}
	return backends, problems
}

// mirror sends a share of the requests to the next mirror's cluster too. Its answers are thrown away.
func mirror(b *routeBuilder, f *gwapiv1.HTTPRouteFilter) {
	if f.RequestMirror == nil || len(b.mirrors) == 0 {
		return
	}
	use := b.mirrors[0]
	b.mirrors = b.mirrors[1:]
	if use == nil {
		return // What is wrong with its backend is said of the backendRef.
	}
	action := b.action()
	action.RequestMirrorPolicies = append(action.RequestMirrorPolicies, &routev3.RouteAction_RequestMirrorPolicy{
		Cluster:         use.Name,
		RuntimeFraction: mirrored(f.RequestMirror),
		// The backend gets the host that the client named, as the request's own backend does.
		DisableShadowHostSuffixAppend: true,
	})
}

// million is the finest denominator that Envoy knows.
const million = 1_000_000

// mirrored is the share of requests that are mirrored; nil means all.
func mirrored(spec *gwapiv1.HTTPRequestMirrorFilter) *corev3.RuntimeFractionalPercent {
	var share *typev3.FractionalPercent
	switch {
	case spec.Percent != nil:
		share = &typev3.FractionalPercent{Numerator: uint32(max(*spec.Percent, 0)), Denominator: typev3.FractionalPercent_HUNDRED}
	case spec.Fraction != nil:
		of := int64(100)
		if spec.Fraction.Denominator != nil {
			of = int64(max(*spec.Fraction.Denominator, 1))
		}
		n := int64(max(spec.Fraction.Numerator, 0)) * million / of
		share = &typev3.FractionalPercent{Numerator: uint32(min(n, million)), Denominator: typev3.FractionalPercent_MILLION}
	default:
		return nil
	}
	return &corev3.RuntimeFractionalPercent{DefaultValue: share}
}
