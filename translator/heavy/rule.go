package heavy

import (
	"fmt"
	"strings"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Backends refer to the Service.
func Backends(n int) []gwapiv1.HTTPBackendRef {
	refs := make([]gwapiv1.HTTPBackendRef, n)
	for i := range refs {
		refs[i].Name, refs[i].Port, refs[i].Weight = "s", new(int32(80)), new(int32(1))
	}
	return refs
}

// Headers is a filter that sets, adds and removes n headers each, of which each value has that length.
func Headers(n, length int) gwapiv1.HTTPRouteFilter {
	f := &gwapiv1.HTTPHeaderFilter{}
	for i := range n {
		f.Set = append(f.Set, gwapiv1.HTTPHeader{
			Name:  gwapiv1.HTTPHeaderName(fmt.Sprintf("x-set-%d", i)),
			Value: strings.Repeat("v", length),
		})
		f.Add = append(f.Add, gwapiv1.HTTPHeader{
			Name:  gwapiv1.HTTPHeaderName(fmt.Sprintf("x-add-%d", i)),
			Value: strings.Repeat("%", length),
		})
		f.Remove = append(f.Remove, fmt.Sprintf("x-remove-%d", i))
	}
	return gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: f}
}

// CORS is a filter that has browsers ask beforehand.
func CORS() gwapiv1.HTTPRouteFilter {
	return gwapiv1.HTTPRouteFilter{
		Type: gwapiv1.HTTPRouteFilterCORS,
		CORS: &gwapiv1.HTTPCORSFilter{AllowOrigins: []gwapiv1.CORSOrigin{"https://shop.example.com"}},
	}
}

// Expressions gives a match n headers and n query parameters with regular expressions.
func Expressions(m *gwapiv1.HTTPRouteMatch, n int, header, query string) {
	regex, queryRegex := gwapiv1.HeaderMatchRegularExpression, gwapiv1.QueryParamMatchRegularExpression
	for i := range n {
		if header != "" {
			m.Headers = append(m.Headers, gwapiv1.HTTPHeaderMatch{
				Type: &regex,
				Name: gwapiv1.HTTPHeaderName(fmt.Sprintf("x-%d", i)), Value: header,
			})
		}
		if query != "" {
			m.QueryParams = append(m.QueryParams, gwapiv1.HTTPQueryParamMatch{
				Type: &queryRegex,
				Name: gwapiv1.HTTPHeaderName(fmt.Sprintf("q-%d", i)), Value: query,
			})
		}
	}
}

// OwnBackends refer to n ports of the Service that no other rule of the route refers to.
func OwnBackends(rule, n int) []gwapiv1.HTTPBackendRef {
	refs := Backends(n)
	for i := range refs {
		refs[i].Port = new(int32(1 + rule*n + i))
	}
	return refs
}

// Mirror is a filter that sends requests to a port of the Service too.
func Mirror(port int) gwapiv1.HTTPRouteFilter {
	return gwapiv1.HTTPRouteFilter{
		Type: gwapiv1.HTTPRouteFilterRequestMirror,
		RequestMirror: &gwapiv1.HTTPRequestMirrorFilter{
			BackendRef: gwapiv1.BackendObjectReference{Name: "s", Port: new(int32(port))},
		},
	}
}

// Redirect is a filter that leads to another path of the host that the client named.
func Redirect(change gwapiv1.HTTPPathModifierType, path string) gwapiv1.HTTPRouteFilter {
	modifier := &gwapiv1.HTTPPathModifier{Type: change, ReplaceFullPath: &path}
	if change == gwapiv1.PrefixMatchHTTPPathModifier {
		modifier.ReplaceFullPath, modifier.ReplacePrefixMatch = nil, &path
	}
	return gwapiv1.HTTPRouteFilter{
		Type:            gwapiv1.HTTPRouteFilterRequestRedirect,
		RequestRedirect: &gwapiv1.HTTPRequestRedirectFilter{Scheme: new("https"), Path: modifier},
	}
}

// Host is a filter that has the backend get another host.
func Host(host string) gwapiv1.HTTPRouteFilter {
	return gwapiv1.HTTPRouteFilter{
		Type:       gwapiv1.HTTPRouteFilterURLRewrite,
		URLRewrite: &gwapiv1.HTTPURLRewriteFilter{Hostname: new(gwapiv1.PreciseHostname(host))},
	}
}

// Path is a filter that has the backend get another path: in place of a prefix, or of the whole.
func Path(change gwapiv1.HTTPPathModifierType, path string) gwapiv1.HTTPRouteFilter {
	modifier := Redirect(change, path).RequestRedirect.Path
	return gwapiv1.HTTPRouteFilter{
		Type:       gwapiv1.HTTPRouteFilterURLRewrite,
		URLRewrite: &gwapiv1.HTTPURLRewriteFilter{Path: modifier},
	}
}

// Retry is one after any code that may be named.
func Retry() *gwapiv1.HTTPRouteRetry {
	retry := &gwapiv1.HTTPRouteRetry{}
	for code := gwapiv1.HTTPRouteRetryStatusCode(400); code < 600; code++ {
		retry.Codes = append(retry.Codes, code)
	}
	return retry
}
