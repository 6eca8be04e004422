// Package externalauth is the ExternalAuth filter of rules and of listeners: a server decides beforehand whether a
// request is let through.
package externalauth

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	// Asker is the name of the HTTP filter that asks a server.
	Asker = "envoy.filters.http.ext_authz"
	// filter is the HTTP filter that becomes a rule's own Asker. What ext_authz lets a route override is not enough:
	// the headers that the server gets are said to the whole filter, and another filter in the chain would drain the
	// listener.
	filter = "envoy.filters.http.composite/ext_authz"
	// limit is how long a server may take. After it, the request is denied. Gateway API leaves it open, and Envoy's
	// 200ms are too short for a server that asks others.
	limit = 10 * time.Second
	// maxBody is how much of the body of each request Envoy may keep for a server, in bytes. All requests of all
	// tenants share Envoy's memory, and Gateway API admits up to 2 GiB for each of them.
	maxBody = 1 << 20
	// backendRef is the path of the server, behind that of the filter.
	backendRef = ".externalAuth.backendRef"
)

// Feature is the filter of rules. A rule whose server cannot be used must not be served without it.
var Feature = feature.Feature[gwapiv1.HTTPRouteRule]{
	Types:  []gwapiv1.HTTPRouteFilterType{gwapiv1.HTTPRouteFilterExternalAuth},
	Check:  check,
	Needs:  needs,
	Route:  route,
	Cost:   cost,
	Filter: func() *hcmv3.HttpFilter { return feature.Composite(filter) },
}

func check(rule *gwapiv1.HTTPRouteRule) []verdict.Problem {
	var problems []verdict.Problem
	first := feature.FilterOf(rule, gwapiv1.HTTPRouteFilterExternalAuth)
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterExternalAuth) {
		field += ".externalAuth"
		problems = append(problems, Check(f.ExternalAuth, field)...)
		if f.ExternalAuth != nil && f != &rule.Filters[first] {
			problems = append(problems, feature.Incompatible(field,
				"a rule asks one authorization server, and filters[%d] names one already: remove one of the two filters", first))
		}
	}
	return problems
}

func needs(rule *gwapiv1.HTTPRouteRule) []feature.Need {
	var needs []feature.Need
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterExternalAuth) {
		if f.ExternalAuth != nil {
			needs = append(needs, feature.Need{Field: field + backendRef, Backend: Backend(f.ExternalAuth)})
		}
	}
	return needs
}

// Backend returns the server that a filter asks.
func Backend(spec *gwapiv1.HTTPExternalAuthFilter) *feature.Backend {
	return &feature.Backend{
		Ref: spec.BackendRef, HTTP2: new(spec.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthGRPCProtocol),
	}
}

func route(rule *gwapiv1.HTTPRouteRule, have feature.Have, route *feature.Route) {
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterExternalAuth) {
		if server, ok := have.Clusters[field+backendRef]; ok {
			feature.PerRoute(route.Route, filter, feature.Whole(Asker, Ask(f.ExternalAuth, server)))
		}
	}
}

func cost(rule *gwapiv1.HTTPRouteRule) (c feature.Cost) {
	for _, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterExternalAuth) {
		c.Route += Cost(f.ExternalAuth)
	}
	return c
}

// Cost estimates what a filter costs each route that it is on, in bytes. The filter may be nil.
func Cost(spec *gwapiv1.HTTPExternalAuthFilter) int64 {
	if spec == nil {
		return 0
	}
	return feature.PerEncoded * int64(len(fmt.Sprint(*spec, spec.GRPCAuthConfig, spec.HTTPAuthConfig)))
}

// Check finds what is wrong with a filter, whose path is field. It may be nil.
func Check(spec *gwapiv1.HTTPExternalAuthFilter, field string) []verdict.Problem {
	if spec == nil {
		return []verdict.Problem{feature.Invalid(field, "a filter of type ExternalAuth needs one: write which authorization server to ask")}
	}
	var problems []verdict.Problem
	if body := spec.ForwardBody; body != nil && body.MaxSize > maxBody {
		problems = append(problems, feature.Invalid(field+".forwardBody.maxSize",
			"%d bytes of each request are more than Envoy may keep while the authorization server decides: write %d or less", body.MaxSize, maxBody))
	}
	if c := spec.GRPCAuthConfig; c != nil {
		problems = append(problems, checkHeaders(field+".grpc.allowedHeaders", c.AllowedRequestHeaders)...)
	}
	if c := spec.HTTPAuthConfig; c != nil {
		problems = append(problems, checkHeaders(field+".http.allowedHeaders", c.AllowedRequestHeaders)...)
		problems = append(problems, checkHeaders(field+".http.allowedResponseHeaders", c.AllowedResponseHeaders)...)
		for j, name := range c.AllowedResponseHeaders {
			if feature.IsMessageHeader(name) {
				problems = append(problems, feature.Invalid(fmt.Sprintf("%s.http.allowedResponseHeaders[%d]", field, j),
					"%q is about the answer itself and cannot be copied into a request: remove it", name))
			}
		}
		if !cleanPath(c.Path) {
			problems = append(problems, feature.Invalid(field+".http.path",
				`%q is no prefix of paths: write one without empty elements, "." and "..", such as /auth`, c.Path))
		}
	}
	return problems
}

func checkHeaders(field string, names []string) []verdict.Problem {
	var problems []verdict.Problem
	for i, name := range names {
		problems = append(problems, feature.CheckHeaderName(fmt.Sprintf("%s[%d]", field, i), name)...)
	}
	return problems
}

// pathElement is an element of a path (RFC 3986, section 3.3: segment-nz).
var pathElement = regexp.MustCompile(`^(?:[-A-Za-z0-9._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$`)

// cleanPath reports whether a path means what it says: none of its elements, decoded, leads elsewhere.
func cleanPath(path string) bool {
	if path = strings.Trim(path, "/"); path == "" {
		return true
	}
	for element := range strings.SplitSeq(path, "/") {
		decoded, _ := url.PathUnescape(element) // What it cannot decode is no element.
		if !pathElement.MatchString(element) || decoded == "." || decoded == ".." || strings.ContainsAny(decoded, `/\`) {
			return false
		}
	}
	return true
}

// Ask returns the filter Asker for a server. Whatever keeps the server from answering denies the request. An answer
// cannot change the headers that no filter may change, and those that are given.
func Ask(spec *gwapiv1.HTTPExternalAuthFilter, server feature.Cluster, kept ...string) *extauthzv3.ExtAuthz {
	kept = append(kept, feature.MessageHeaders()...)
	config := &extauthzv3.ExtAuthz{TransportApiVersion: corev3.ApiVersion_V3, ValidateMutations: true}
	if spec.ForwardBody != nil && spec.ForwardBody.MaxSize > 0 {
		// Gateway API says both that a longer body is truncated and that it is rejected. A decision on a part of it is
		// none.
		config.WithRequestBody = &extauthzv3.BufferSettings{MaxRequestBytes: uint32(spec.ForwardBody.MaxSize)}
	}
	if spec.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthGRPCProtocol {
		askGRPC(config, ptr.Deref(spec.GRPCAuthConfig, gwapiv1.GRPCAuthConfig{}), server)
	} else {
		kept = append(kept, askHTTP(config, ptr.Deref(spec.HTTPAuthConfig, gwapiv1.HTTPAuthConfig{}), server)...)
	}
	config.DecoderHeaderMutationRules = unchanged(kept)
	return config
}

// askGRPC sends all headers of a request if none are named.
func askGRPC(config *extauthzv3.ExtAuthz, spec gwapiv1.GRPCAuthConfig, server feature.Cluster) {
	config.Services = &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
			ClusterName: server.Name, Authority: server.Authority,
		}},
		Timeout: durationpb.New(limit),
	}}
	config.AllowedHeaders = named(spec.AllowedRequestHeaders)
}

// askHTTP sends Host, Method, Path, Content-Length and Authorization, and the named headers. If none are named, all
// headers of the answer go to the backend, except for those that are about the answer itself; it returns these as
// expressions.
func askHTTP(config *extauthzv3.ExtAuthz, spec gwapiv1.HTTPAuthConfig, server feature.Cluster) (kept []string) {
	copied := named(spec.AllowedResponseHeaders)
	if copied == nil {
		kept = []string{"content-.*"}
		copied = &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{feature.Matching(".*")}}
	}
	prefix := strings.Trim(spec.Path, "/")
	if prefix != "" {
		prefix = "/" + prefix
	}
	config.Services = &extauthzv3.ExtAuthz_HttpService{HttpService: &extauthzv3.HttpService{
		ServerUri: &corev3.HttpUri{
			Uri: "http://" + server.Authority, Timeout: durationpb.New(limit),
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: server.Name},
		},
		PathPrefix:            prefix,
		AuthorizationResponse: &extauthzv3.AuthorizationResponse{AllowedUpstreamHeaders: copied},
	}}
	config.AllowedHeaders = named(spec.AllowedRequestHeaders)
	return kept
}

// unchanged keeps headers of a request, given as regular expressions, as they are whatever a server answers. Envoy
// ignores such a change, and those of the host and of x-envoy- headers.
func unchanged(headers []string) *mutationv3.HeaderMutationRules {
	return &mutationv3.HeaderMutationRules{
		DisallowExpression: &matcherv3.RegexMatcher{Regex: "^(:.*|" + strings.Join(headers, "|") + ")$"},
	}
}

// named matches headers by their names; nil for none.
func named(names []string) *matcherv3.ListStringMatcher {
	if len(names) == 0 {
		return nil
	}
	list := &matcherv3.ListStringMatcher{}
	for _, name := range names {
		list.Patterns = append(list.Patterns, feature.Exactly(strings.ToLower(name)))
	}
	return list
}
