package redirect

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/paths"
)

// Envoy's redirects either write a port or leave the one that the client named in Host, which may be that of a
// NodePort. So a Location with the host of the request and without a port is made by hand: regular expressions put the
// host without its port, and the path if it changes, into metadata, and the Location is made of these. Metadata holds
// less than 8 KiB, so a longer path that changes is left out.

const (
	locationFilter    = "envoy.filters.http.header_to_metadata/location"
	locationNamespace = "gatehouse.location"
	// portPattern is the port behind a host.
	portPattern = ":[0-9]*$"
)

// withoutPort makes a redirect that takes its host from the request lead to that host without a port.
func withoutPort(route *routev3.Route, scheme string) {
	r := route.GetRedirect()
	rules := []*metadatav3.Config_Rule{locationRule(":authority", "host", &matcherv3.RegexMatchAndSubstitute{
		Pattern: &matcherv3.RegexMatcher{Regex: portPattern},
	})}
	path := "%REQ(:PATH)%"
	if change := pathChange(route); change != nil {
		rules = append(rules, locationRule(":path", "path", change))
		path = "%DYNAMIC_METADATA(" + locationNamespace + ":path)%"
	}
	feature.PerRoute(route, locationFilter, &metadatav3.Config{RequestRules: rules})
	location := &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: "location", Value: scheme + "://%DYNAMIC_METADATA(" + locationNamespace +
			":host)%" + path},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
	route.ResponseHeadersToAdd = append([]*corev3.HeaderValueOption{location}, route.ResponseHeadersToAdd...)
	for status, code := range codes {
		if code == r.ResponseCode {
			route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: uint32(status)}}
		}
	}
}

// locationCost is what a redirect to the host of the request costs each route besides, in bytes (withoutPort). Whether
// its hosts are exact is not known here, so all redirects are charged. What removing a prefix costs depends on the
// matches, and is not in it.
func locationCost(spec *gwapiv1.HTTPRequestRedirectFilter) int64 {
	if spec.Hostname != nil {
		return 0
	}
	action := &routev3.RedirectAction{}
	setPath(action, spec.Path, nil)
	cost := 3*feature.PerEntry + feature.Expressions(portPattern) // The header, and the settings for host and path.
	if change := pathChange(&routev3.Route{Action: &routev3.Route_Redirect{Redirect: action}}); change != nil {
		cost += feature.Expressions(change.Pattern.Regex) + feature.PerText*int64(len(change.Substitution))
	}
	return cost
}

func locationRule(header, key string, rewrite *matcherv3.RegexMatchAndSubstitute) *metadatav3.Config_Rule {
	return &metadatav3.Config_Rule{
		Header: header,
		OnHeaderPresent: &metadatav3.Config_KeyValuePair{
			MetadataNamespace: locationNamespace, Key: key, RegexValueRewrite: rewrite,
		},
	}
}

// pathChange returns what a redirect makes of a path, which a query may follow. It is nil if the path stays.
func pathChange(route *routev3.Route) *matcherv3.RegexMatchAndSubstitute {
	change := func(pattern, path string) *matcherv3.RegexMatchAndSubstitute {
		return &matcherv3.RegexMatchAndSubstitute{
			Pattern:      &matcherv3.RegexMatcher{Regex: pattern},
			Substitution: paths.Substitution(path),
		}
	}
	switch path := route.GetRedirect().PathRewriteSpecifier.(type) {
	case *routev3.RedirectAction_PathRedirect:
		return change(`^[^?]*`, path.PathRedirect)
	case *routev3.RedirectAction_PrefixRewrite:
		return change("^"+regexp.QuoteMeta(strings.TrimRight(route.Match.GetPathSeparatedPrefix(), "/")), path.PrefixRewrite)
	case *routev3.RedirectAction_RegexRewrite:
		return path.RegexRewrite
	}
	return nil
}
