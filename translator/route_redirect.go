package translator

import (
	"cmp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

var redirectCodes = map[int]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

func redirect(b *routeBuilder, f *gwapiv1.HTTPRouteFilter) {
	spec := f.RequestRedirect
	if spec == nil {
		return
	}
	action := &routev3.RedirectAction{ResponseCode: redirectCodes[302]}
	if spec.StatusCode != nil {
		action.ResponseCode = redirectCodes[*spec.StatusCode]
	}
	if spec.Scheme != nil {
		action.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: *spec.Scheme}
	}
	action.HostRedirect = string(deref(spec.Hostname))
	action.PortRedirect = redirectPort(spec, b.listener)
	setRedirectPath(action, spec.Path, b.match)
	b.route.Action = &routev3.Route_Redirect{Redirect: action}
}

// wellKnownPorts are those that a scheme implies: a Location does not name them (Gateway API, HTTPRequestRedirectFilter port).
var wellKnownPorts = map[string]int32{"http": 80, "https": 443}

// scheme is that of the requests of a listener.
func (l *listenerRow) scheme() string {
	if l.protocol().tls {
		return "https"
	}
	return "http"
}

// redirectPort is the port of the Location: the given one, else the well-known one of the given scheme, else the listener's. It is
// 0 if the Location needs none, since its scheme implies it.
func redirectPort(spec *gwapiv1.HTTPRequestRedirectFilter, l *listenerRow) uint32 {
	scheme := cmp.Or(deref(spec.Scheme), l.scheme())
	port := l.Spec.Port
	switch {
	case spec.Port != nil:
		port = *spec.Port
	case spec.Scheme != nil:
		port = wellKnownPorts[scheme]
	}
	if port == wellKnownPorts[scheme] {
		return 0
	}
	return uint32(port)
}

// onHost is a route as it is in the virtual host of a host. A redirect that names no host leads to that one if it is exact, else to that of the
// request; what the client says of its port makes no difference.
func onHost(route *routev3.Route, l *listenerRow, host string) *routev3.Route {
	r := route.GetRedirect()
	if r == nil || r.HostRedirect != "" {
		return route
	}
	wild := strings.Contains(host, "*")
	if wild && r.PortRedirect != 0 {
		return route // Envoy writes it in place of the client's.
	}
	route = proto.CloneOf(route)
	if wild {
		portless(route, cmp.Or(r.GetSchemeRedirect(), l.scheme()))
	} else {
		route.GetRedirect().HostRedirect = host
	}
	return route
}

func setRedirectPath(action *routev3.RedirectAction, path *gwapiv1.HTTPPathModifier, match *gwapiv1.HTTPRouteMatch) {
	if path == nil {
		return
	}
	switch path.Type {
	case gwapiv1.FullPathHTTPPathModifier:
		action.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: cmp.Or(deref(path.ReplaceFullPath), "/")}
	case gwapiv1.PrefixMatchHTTPPathModifier:
		if pattern, substitution := prefixRemoval(match, path); pattern != nil {
			action.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{
				RegexRewrite: &matcherv3.RegexMatchAndSubstitute{Pattern: pattern, Substitution: substitution},
			}
			return
		}
		action.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: prefixReplacement(path)}
	}
}
