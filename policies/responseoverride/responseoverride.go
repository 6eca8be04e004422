// Package responseoverride is the responseOverride part of a BackendTrafficPolicy: responses that are replaced by others.
package responseoverride

import (
	"fmt"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	redirectv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/redirect_policy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	// field is the field of the spec.
	field = "responseOverride"
	// filter is the HTTP filter that becomes the overrides of a route. Envoy's own filter merges those of the route with
	// those of its route configuration, so a policy on a Gateway could not be replaced by another one.
	filter = "envoy.filters.http.composite/custom_response"
	// defaultRedirect is the status code of a redirect that names none.
	defaultRedirect = 302
)

// Feature is the responseOverride part.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:    field,
	Check:   check,
	Needs:   needs,
	Keys:    []feature.ContentKey{feature.BodyKey},
	Route:   route,
	Cost:    cost,
	Filters: []feature.Filter{{Name: filter, Config: feature.Composite(), Off: feature.Nothing()}},
}

func needs(spec *v1alpha1.BackendTrafficPolicySpec) (needs []feature.Need) {
	for i, o := range spec.ResponseOverride {
		if o != nil && o.Response != nil {
			needs = append(needs, feature.BodyNeeds(bodyField(i), o.Response.Body)...)
		}
	}
	return needs
}

// bodyField is the field of a body.
func bodyField(i int) string { return fmt.Sprintf("%s[%d].response.body", field, i) }

func route(spec *v1alpha1.BackendTrafficPolicySpec, have feature.Have, route *feature.Route) {
	if len(spec.ResponseOverride) == 0 || verdict.Has(check(spec), verdict.Invalid) {
		return
	}
	list := &xdsmatcherv3.Matcher_MatcherList{}
	for i, o := range spec.ResponseOverride {
		var does proto.Message
		if o.Redirect != nil {
			does = redirection(o.Redirect)
		} else {
			does = replacement(o.Response, feature.Body(bodyField(i), o.Response.Body, have))
		}
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
			Predicate: predicate(o),
			OnMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
				Action: &xdscorev3.TypedExtensionConfig{Name: fmt.Sprintf("%s[%d]", field, i), TypedConfig: feature.Any(does)},
			}},
		})
	}
	config := &customv3.CustomResponse{CustomResponseMatcher: &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list},
	}}
	feature.PerRoute(route.Route, filter, feature.Whole(feature.Extension("envoy.filters.http.custom_response", config)))
}

// replacement is a response with a body, which is empty if there is none.
func replacement(r *v1alpha1.CustomResponse, body string) *localv3.LocalResponsePolicy {
	out := &localv3.LocalResponsePolicy{ResponseHeadersToAdd: feature.ResponseHeaders(r.ContentType, r.Header)}
	if body != "" {
		out.BodyFormat = feature.BodyFormat(body)
	}
	if r.StatusCode != nil {
		out.StatusCode = wrapperspb.UInt32(uint32(*r.StatusCode))
	}
	return out
}

// redirection has Envoy ask for the response elsewhere.
func redirection(r *v1alpha1.CustomRedirect) *redirectv3.RedirectPolicy {
	action := &routev3.RedirectAction{HostRedirect: string(ptr.Deref(r.Hostname, "")), PortRedirect: uint32(ptr.Deref(r.Port, 0))}
	if r.Scheme != nil {
		action.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: *r.Scheme}
	}
	if r.Path != nil && r.Path.ReplaceFullPath != nil {
		action.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: *r.Path.ReplaceFullPath}
	}
	return &redirectv3.RedirectPolicy{
		RedirectActionSpecifier: &redirectv3.RedirectPolicy_RedirectAction{RedirectAction: action},
		StatusCode:              wrapperspb.UInt32(uint32(ptr.Deref(r.StatusCode, defaultRedirect))),
	}
}

// cost adds the expressions of a policy.
func cost(spec *v1alpha1.BackendTrafficPolicySpec) (cost feature.Cost) {
	for _, o := range spec.ResponseOverride {
		if o != nil {
			cost.Route += feature.Expressions(expressions(&o.Match)...)
		}
	}
	return cost
}
