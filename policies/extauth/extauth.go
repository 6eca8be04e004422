// Package extauth is the ExternalAuth filter of rules and of listeners, and the extAuth part of a SecurityPolicy: a
// server decides beforehand whether a request is let through.
package extauth

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	// asker is the name of the HTTP filter that asks a server.
	asker = "envoy.filters.http.ext_authz"
	// filter is the HTTP filter that becomes a rule's own asker. What ext_authz lets a route override is not enough:
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
	Types:     []gwapiv1.HTTPRouteFilterType{gwapiv1.HTTPRouteFilterExternalAuth},
	Check:     check,
	Needs:     needs,
	Route:     route,
	Cost:      cost,
	Effective: effective,
	Filters:   []feature.Filter{{Name: filter, Config: feature.Composite()}},
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
	b := feature.OneBackend(spec.BackendRef)
	b.HTTP2 = new(spec.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthGRPCProtocol)
	return b
}

func route(rule *gwapiv1.HTTPRouteRule, have feature.Have, route *feature.Route) {
	for field, f := range feature.Filters(rule, gwapiv1.HTTPRouteFilterExternalAuth) {
		if server, ok := have.Clusters[field+backendRef]; ok {
			feature.PerRoute(route.Route, filter, feature.Whole(Ask(f.ExternalAuth, server)...))
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
		return []verdict.Problem{feature.Invalid(field,
			"a filter of type ExternalAuth needs one: write which authorization server to ask")}
	}
	var problems []verdict.Problem
	if body := spec.ForwardBody; body != nil && body.MaxSize > maxBody {
		problems = append(problems, tooLong(field+".forwardBody.maxSize", int64(body.MaxSize)))
	}
	if c := spec.GRPCAuthConfig; c != nil {
		problems = append(problems, feature.CheckHeaderNames(field+".grpc.allowedHeaders", c.AllowedRequestHeaders)...)
	}
	if c := spec.HTTPAuthConfig; c != nil {
		problems = append(problems, feature.CheckHeaderNames(field+".http.allowedHeaders", c.AllowedRequestHeaders)...)
		problems = append(problems,
			checkHTTP(field+".http.path", c.Path, field+".http.allowedResponseHeaders", c.AllowedResponseHeaders)...)
	}
	return problems
}

func tooLong(field string, size int64) verdict.Problem {
	return feature.Invalid(field,
		"%d bytes of each request are more than Envoy may keep while the authorization server decides: write %d or less",
		size, maxBody)
}

// checkHTTP finds what is wrong with the prefix of paths and the headers of an answer that is given by HTTP.
func checkHTTP(pathField, path, headersField string, copied []string) []verdict.Problem {
	problems := feature.CheckHeaderNames(headersField, copied)
	for i, name := range copied {
		if feature.IsMessageHeader(name) {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s[%d]", headersField, i),
				"%q is about the answer itself and cannot be copied into a request: remove it", name))
		}
	}
	if !cleanPath(path) {
		problems = append(problems, feature.Invalid(pathField,
			`%q is not a prefix of paths: write one without empty elements, "." and "..", such as /auth`, path))
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
		decoded, _ := url.PathUnescape(element) // What it cannot decode is not an element.
		if !pathElement.MatchString(element) || decoded == "." || decoded == ".." || strings.ContainsAny(decoded, `/\`) {
			return false
		}
	}
	return true
}

// Ask returns the filters that ask a server. Whatever keeps the server from answering denies the request. An answer
// cannot change the headers that no filter may change, and those that are given.
func Ask(spec *gwapiv1.HTTPExternalAuthFilter, server feature.Cluster, kept ...string) []*corev3.TypedExtensionConfig {
	a := asking{server: server, limit: durationpb.New(limit)}
	if spec.ForwardBody != nil {
		// Gateway API says both that a longer body is truncated and that it is rejected. A decision on a part of it is
		// none.
		a.body = uint32(spec.ForwardBody.MaxSize)
	}
	if spec.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthGRPCProtocol {
		a.grpc, a.sent = true, ptr.Deref(spec.GRPCAuthConfig, gwapiv1.GRPCAuthConfig{}).AllowedRequestHeaders
		return a.filters(a.config(append(kept, feature.MessageHeaders()...)))
	}
	http := ptr.Deref(spec.HTTPAuthConfig, gwapiv1.HTTPAuthConfig{})
	a.path, a.sent, a.copied = http.Path, http.AllowedRequestHeaders, http.AllowedResponseHeaders
	kept = append(kept, feature.MessageHeaders()...)
	if len(a.copied) > 0 {
		return a.filters(a.config(kept))
	}
	// All headers of the answer are copied, except for those that are about the answer itself, such as Content-Type.
	config := a.config(append(kept, "content-.*"))
	config.GetHttpService().AuthorizationResponse.AllowedUpstreamHeaders = &matcherv3.ListStringMatcher{
		Patterns: []*matcherv3.StringMatcher{feature.Matching(".*")},
	}
	return a.filters(config)
}

// asking is how a server is asked.
type asking struct {
	server feature.Cluster
	grpc   bool
	// path is put before the path of the request, for HTTP; override replaces it.
	path, override string
	// sent are the headers of the request that the server gets. None means all for gRPC. By HTTP it always gets Host,
	// Method, Path, Content-Length and Authorization.
	sent []string
	// copied are the headers of an answer by HTTP that the backend gets.
	copied []string
	// body is the longest body that the server gets, in bytes; 0 means none.
	body  uint32
	limit *durationpb.Duration
	// retry says when the server is asked again; nil for never.
	retry *corev3.RetryPolicy
}

// filters returns the filters that ask the server, given the configuration of the last one.
func (a *asking) filters(config *extauthzv3.ExtAuthz) []*corev3.TypedExtensionConfig {
	asks := feature.Extension(asker, config)
	if names := stripped(a.copied, a.sent); len(names) > 0 {
		return []*corev3.TypedExtensionConfig{strip(names), asks}
	}
	return []*corev3.TypedExtensionConfig{asks}
}

// config returns the configuration of the asker. An answer cannot change the headers that are kept, which are
// expressions.
func (a *asking) config(kept []string) *extauthzv3.ExtAuthz {
	config := &extauthzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3, ValidateMutations: true, AllowedHeaders: named(a.sent),
		DecoderHeaderMutationRules: unchanged(kept),
	}
	if a.body > 0 {
		config.WithRequestBody = &extauthzv3.BufferSettings{MaxRequestBytes: a.body}
	}
	if a.grpc {
		config.Services = &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName: a.server.Name, Authority: a.server.Host,
			}},
			Timeout: a.limit, RetryPolicy: a.retry,
		}}
		return config
	}
	prefix := strings.Trim(a.path, "/")
	if prefix != "" {
		prefix = "/" + prefix
	}
	config.Services = &extauthzv3.ExtAuthz_HttpService{HttpService: &extauthzv3.HttpService{
		ServerUri: &corev3.HttpUri{
			Uri: "http://" + a.server.Host, Timeout: a.limit,
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: a.server.Name},
		},
		PathPrefix:            prefix,
		PathOverride:          a.override,
		RetryPolicy:           a.retry,
		AuthorizationResponse: &extauthzv3.AuthorizationResponse{AllowedUpstreamHeaders: named(a.copied)},
	}}
	return config
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
