// Package filterdirectresponse is the directResponse part of an HTTPRouteFilter: a response that Envoy gives by itself.
package filterdirectresponse

import (
	"net/http"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	field = "directResponse"
	// body is the field of the body.
	body = field + ".body"
)

// Feature is the directResponse part.
var Feature = feature.Feature[v1alpha1.HTTPRouteFilterSpec]{
	Name:  field,
	Check: check,
	Needs: needs,
	Keys:  []feature.ContentKey{feature.BodyKey},
	Route: route,
	Cost:  cost,
	Traits: func(spec *v1alpha1.HTTPRouteFilterSpec) feature.Traits {
		return feature.Traits{Answers: spec.DirectResponse != nil}
	},
}

// Status is the status code of a direct response. The default is 200.
func Status(r *v1alpha1.HTTPDirectResponseFilter) int { return ptr.Deref(r.StatusCode, http.StatusOK) }

func check(spec *v1alpha1.HTTPRouteFilterSpec) []verdict.Problem {
	r := spec.DirectResponse
	if r == nil {
		return nil
	}
	problems := slices.Concat(
		feature.CheckStatus(field+".statusCode", Status(r)),
		feature.CheckResponseHeaders(field, r.ContentType, r.Header),
		feature.CheckBody(body, r.Body),
		feature.CheckNoBody(body, Status(r), r.Body),
	)
	// An HTTPRouteFilter has no status to say that a field has no effect, and with a problem its rules would fail.
	return slices.DeleteFunc(problems, func(p verdict.Problem) bool { return p.Condition == feature.ConditionFields })
}

func needs(spec *v1alpha1.HTTPRouteFilterSpec) []feature.Need {
	if spec.DirectResponse == nil {
		return nil
	}
	return feature.BodyNeeds(body, spec.DirectResponse.Body)
}

// route has Envoy answer. The body is always a format, because Envoy limits other bodies to 4 KiB, or to what the route
// configuration says.
func route(spec *v1alpha1.HTTPRouteFilterSpec, have feature.Have, route *feature.Route) {
	r := spec.DirectResponse
	if r == nil || len(check(spec)) > 0 {
		return
	}
	route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: uint32(Status(r)), BodyFormat: feature.BodyFormat(feature.Body(body, r.Body, have)),
	}}
	route.OnHost = nil
	route.ResponseHeadersToAdd = append(route.ResponseHeadersToAdd, feature.ResponseHeaders(r.ContentType, r.Header)...)
}

// cost counts the body and the headers. Each route has its own.
func cost(spec *v1alpha1.HTTPRouteFilterSpec) (cost feature.Cost) {
	r := spec.DirectResponse
	if r == nil {
		return cost
	}
	cost.Route = feature.PerEntry
	if r.Body != nil {
		bytes := len(ptr.Deref(r.Body.Inline, ""))
		if len(needs(spec)) > 0 {
			bytes = feature.MaxBody
		}
		cost.Route += feature.PerText * int64(bytes)
	}
	cost.Route += feature.PerText * int64(len(ptr.Deref(r.ContentType, "")))
	if r.Header == nil {
		return cost
	}
	for _, h := range slices.Concat(r.Header.Set, r.Header.Add) {
		cost.Route += feature.PerEntry + feature.PerText*int64(len(h.Name)+len(h.Value))
	}
	return cost
}
