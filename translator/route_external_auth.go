package translator

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

const (
	extAuthz = "envoy.filters.http.ext_authz"
	// authFilter is the HTTP filter that becomes a rule's own ext_authz. What ext_authz lets a route override is not enough: which headers
	// the authorization server gets is said to the whole filter, and another filter in the chain would drain the listener.
	authFilter = "envoy.filters.http.composite/ext_authz"
	// authTimeout is how long an authorization server may take; after it the request is denied. Gateway API leaves it open, and Envoy's 200ms
	// are too short for a server that asks others.
	authTimeout = 10 * time.Second
	// maxBody is how much of the body of each request Envoy may keep for an authorization server, in bytes. All requests of all tenants share Envoy's
	// memory, and Gateway API admits up to 2 GiB for each of them.
	maxBody = 1 << 20
)

// externalAuths is the filter as every connection manager has it: disabled, so that a rule's ExternalAuth changes its route alone.
func externalAuths() *hcmv3.HttpFilter {
	return feature.Composite(authFilter)
}

// authorizers resolves the backend of a rule's ExternalAuth filter: one, or none without a filter. A rule whose authorization server cannot
// be used must not be served without it.
func (t *Tables) authorizers(r *flow.Read, route *routeRow, rule *gwapiv1.HTTPRouteRule, field string) (backends []backend, problems []verdict.Problem) {
	for i := range rule.Filters {
		spec := rule.Filters[i].ExternalAuth
		if rule.Filters[i].Type != gwapiv1.HTTPRouteFilterExternalAuth || spec == nil {
			continue // Another type of filter; checkExternalAuth tells of one without its spec.
		}
		b, problem := t.backend(r, route.referrer(), &gwapiv1.HTTPBackendRef{BackendRef: gwapiv1.BackendRef{BackendObjectReference: spec.BackendRef}})
		if problem != nil {
			problem.Field = fmt.Sprintf("%s.filters[%d].externalAuth.backendRef%s", field, i, problem.Field)
			problem.Condition = string(gwapiv1.RouteConditionResolvedRefs)
			problems = append(problems, *problem)
		}
		b.HTTP2 = spec.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthGRPCProtocol
		backends = append(backends, b)
	}
	return backends, problems
}

// checkExternalAuth finds what keeps a filter of a rule from asking an authorization server as it says.
func checkExternalAuth(rule *gwapiv1.HTTPRouteRule, i int, field string) []verdict.Problem {
	f := &rule.Filters[i]
	if f.Type != gwapiv1.HTTPRouteFilterExternalAuth {
		return nil
	}
	field += ".externalAuth"
	if f.ExternalAuth == nil {
		return []verdict.Problem{unsupported(field, "a filter of type ExternalAuth needs one; write which authorization server to ask")}
	}
	problems := asUnsupported(checkAuth(f.ExternalAuth, field))
	if before := slices.IndexFunc(rule.Filters, func(o gwapiv1.HTTPRouteFilter) bool { return o.Type == f.Type }); before < i {
		p := unsupported(field, "a rule asks one authorization server, and filters[%d] names one already; remove one of the two filters", before)
		p.Reason = string(gwapiv1.RouteReasonIncompatibleFilters)
		problems = append(problems, p)
	}
	return problems
}

// checkAuth finds what is wrong with how an authorization server is to be asked.
func checkAuth(spec *gwapiv1.HTTPExternalAuthFilter, field string) []verdict.Problem {
	var problems []verdict.Problem
	if body := spec.ForwardBody; body != nil && body.MaxSize > maxBody {
		problems = append(problems, unsupported(field+".forwardBody.maxSize",
			"%d bytes of each request are more than Envoy may keep while the authorization server decides; write %d or less", body.MaxSize, maxBody))
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
					"%q is about the answer itself and cannot be copied into a request; remove it", name))
			}
		}
		if !cleanPath(c.Path) {
			problems = append(problems, feature.Invalid(field+".http.path", `%q is no prefix of paths; write one without empty elements, "." and "..", such as /auth`, c.Path))
		}
	}
	return problems
}

func unsupported(field, message string, args ...any) verdict.Problem {
	p := feature.Invalid(field, message, args...)
	p.Reason = string(gwapiv1.RouteReasonUnsupportedValue)
	return p
}

// asUnsupported gives problems the reason that routes have for what their fields say.
func asUnsupported(problems []verdict.Problem) []verdict.Problem {
	for i := range problems {
		problems[i].Reason = string(gwapiv1.RouteReasonUnsupportedValue)
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

// cleanPath tells that a path means what it says: it is made of elements none of which, decoded, leads elsewhere.
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

// externalAuth has a server decide beforehand whether the rule's requests are let through. Whatever keeps it from answering denies them.
func externalAuth(b *routeBuilder, f *gwapiv1.HTTPRouteFilter) {
	config := authorization(f.ExternalAuth, b.auth[0]) // Without either the rule answers 500.
	feature.PerRoute(b.route, authFilter, feature.Whole(extAuthz, config))
}

// authorization is the filter that asks a server. Beside headers that no answer may change, those that are given stay as they are.
func authorization(spec *gwapiv1.HTTPExternalAuthFilter, use *clusterUse, kept ...string) *extauthzv3.ExtAuthz {
	kept = append(kept, feature.MessageHeaders()...)
	config := &extauthzv3.ExtAuthz{TransportApiVersion: corev3.ApiVersion_V3, ValidateMutations: true}
	if spec.ForwardBody != nil && spec.ForwardBody.MaxSize > 0 {
		// Gateway API says both that a longer body is truncated and that it is rejected. A decision on a part of the body is none.
		config.WithRequestBody = &extauthzv3.BufferSettings{MaxRequestBytes: uint32(spec.ForwardBody.MaxSize)}
	}
	if spec.ExternalAuthProtocol == gwapiv1.HTTPRouteExternalAuthGRPCProtocol {
		askGRPC(config, deref(spec.GRPCAuthConfig), use)
	} else {
		kept = append(kept, askHTTP(config, deref(spec.HTTPAuthConfig), use)...)
	}
	config.DecoderHeaderMutationRules = unchanged(kept)
	return config
}

// askGRPC sends all headers of a request if none are named.
func askGRPC(config *extauthzv3.ExtAuthz, spec gwapiv1.GRPCAuthConfig, use *clusterUse) {
	config.Services = &extauthzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: use.Name, Authority: use.authority()}},
		Timeout:         durationpb.New(authTimeout),
	}}
	config.AllowedHeaders = named(spec.AllowedRequestHeaders)
}

// askHTTP sends Host, Method, Path, Content-Length and Authorization, and the headers that are named beside them. All headers of the answer go
// to the backend if none are named, but for those that are about the answer itself, Content-Type and its like among them, which it returns.
func askHTTP(config *extauthzv3.ExtAuthz, spec gwapiv1.HTTPAuthConfig, use *clusterUse) (kept []string) {
	copied := named(spec.AllowedResponseHeaders)
	if copied == nil {
		kept = []string{"content-.*"}
		copied = &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{matching(".*")}}
	}
	prefix := strings.Trim(spec.Path, "/")
	if prefix != "" {
		prefix = "/" + prefix
	}
	config.Services = &extauthzv3.ExtAuthz_HttpService{HttpService: &extauthzv3.HttpService{
		ServerUri: &corev3.HttpUri{
			Uri: "http://" + use.authority(), Timeout: durationpb.New(authTimeout),
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: use.Name},
		},
		PathPrefix:            prefix,
		AuthorizationResponse: &extauthzv3.AuthorizationResponse{AllowedUpstreamHeaders: copied},
	}}
	config.AllowedHeaders = named(spec.AllowedRequestHeaders)
	return kept
}

// unchanged keeps headers of a request, given as regular expressions, as they are whatever a server answers. Envoy passes over such a change, and over those
// of the host and of x-envoy- headers.
func unchanged(headers []string) *mutationv3.HeaderMutationRules {
	return &mutationv3.HeaderMutationRules{
		DisallowExpression: &matcherv3.RegexMatcher{Regex: "^(:.*|" + strings.Join(headers, "|") + ")$"},
	}
}

// authority is the host by which a gRPC server is asked, and which stands in the URI of an HTTP server; that one gets the client's Host.
func (c *clusterUse) authority() string {
	b := c.Backends[0]
	if b.Port.Number == 0 {
		return b.To.host() // Its endpoints have ports of their own.
	}
	return fmt.Sprintf("%s:%d", b.To.host(), b.Port.Number)
}

// named matches headers by their names; nil for none.
func named(names []string) *matcherv3.ListStringMatcher {
	if len(names) == 0 {
		return nil
	}
	list := &matcherv3.ListStringMatcher{}
	for _, name := range names {
		list.Patterns = append(list.Patterns, exactly(strings.ToLower(name)))
	}
	return list
}
