package translator

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"gatehouse/api/v1alpha1"
)

func (h *history) serviceImport() Object {
	return &mcsv1alpha1.ServiceImport{
		ObjectMeta: h.meta(h.namespace(), pick(h, "s1", "s2")),
		Spec: mcsv1alpha1.ServiceImportSpec{
			Ports: []mcsv1alpha1.ServicePort{{Name: pick(h, "http", "web"), Port: pick[int32](h, 80, 80, 81)}},
		},
	}
}

// filters gives a rule what reads other objects or changes what clusters it needs.
func (h *history) filters(rule *gwapiv1.HTTPRouteRule) {
	for range h.IntN(3) {
		mirror := &gwapiv1.HTTPRequestMirrorFilter{Percent: maybe(h, int32(h.IntN(100)))}
		mirror.BackendRef.Name, mirror.BackendRef.Port = gwapiv1.ObjectName(pick(h, "s1", "s2")), ptr[int32](80)
		mirror.BackendRef.Namespace = maybe(h, gwapiv1.Namespace(h.namespace()))
		rule.Filters = append(rule.Filters, gwapiv1.HTTPRouteFilter{
			Type:          gwapiv1.HTTPRouteFilterRequestMirror,
			RequestMirror: mirror,
		})
	}
	if h.IntN(4) == 0 {
		origin := pick[gwapiv1.CORSOrigin](h, "*", "https://a.example.com", "https://a.example.com:0")
		rule.Filters = append(rule.Filters, gwapiv1.HTTPRouteFilter{
			Type: gwapiv1.HTTPRouteFilterCORS,
			CORS: &gwapiv1.HTTPCORSFilter{AllowOrigins: []gwapiv1.CORSOrigin{origin}},
		})
	}
	if h.IntN(3) == 0 {
		rule.Filters = append(rule.Filters, h.externalAuth())
	}
	if h.IntN(4) == 0 {
		rule.Filters = append(rule.Filters, h.extensionRef())
	}
	if h.IntN(4) == 0 {
		rule.SessionPersistence = &gwapiv1.SessionPersistence{
			Type:            maybe(h, gwapiv1.HeaderBasedSessionPersistence),
			AbsoluteTimeout: maybe[gwapiv1.Duration](h, "1h"),
		}
	}
	for i := range rule.BackendRefs {
		if h.IntN(4) == 0 {
			rule.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{h.extensionRef()}
		}
		if h.IntN(4) == 0 {
			rule.BackendRefs[i].Filters = []gwapiv1.HTTPRouteFilter{{
				Type: gwapiv1.HTTPRouteFilterURLRewrite,
				URLRewrite: &gwapiv1.HTTPURLRewriteFilter{
					Hostname: maybe[gwapiv1.PreciseHostname](h, "internal"),
					Path: maybe(h, gwapiv1.HTTPPathModifier{
						Type:               gwapiv1.PrefixMatchHTTPPathModifier,
						ReplacePrefixMatch: ptr(pick(h, "/", "/new")),
					}),
				},
			}}
		}
	}
	for i := range rule.Matches {
		rule.Matches[i].Method = maybe(h, pick(h, gwapiv1.HTTPMethodGet, gwapiv1.HTTPMethodOptions))
	}
}

func (h *history) extensionRef() gwapiv1.HTTPRouteFilter {
	return gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterExtensionRef, ExtensionRef: &gwapiv1.LocalObjectReference{
		Group: v1alpha1.GroupName, Kind: v1alpha1.KindHTTPRouteFilter, Name: gwapiv1.ObjectName(pick(h, "f1", "f2")),
	}}
}

func (h *history) routeFilter() Object {
	f := &v1alpha1.HTTPRouteFilter{ObjectMeta: h.meta(h.namespace(), pick(h, "f1", "f2"))}
	for range h.IntN(3) {
		f.Spec.Matches = append(f.Spec.Matches, v1alpha1.HTTPRouteMatchFilter{Cookies: []v1alpha1.HTTPCookieMatch{{
			Type: maybe(h, v1alpha1.CookieMatchRegularExpression), Name: "c", Value: pick(h, "a", "b+", "("),
		}}})
	}
	f.Spec.URLRewrite = maybe(h, v1alpha1.HTTPURLRewriteFilter{Hostname: &v1alpha1.HTTPHostnameModifier{
		Type: v1alpha1.HostnameFromHeader, Header: ptr(pick(h, "x-host", "x host")),
	}})
	if h.IntN(2) == 0 {
		f.Spec.CredentialInjection = &v1alpha1.HTTPCredentialInjectionFilter{Header: maybe(h, "x-key")}
		ref := &f.Spec.CredentialInjection.Credential.ValueRef
		ref.Name, ref.Namespace = "s", h.elsewhere()
	}
	return f
}

func (h *history) externalAuth() gwapiv1.HTTPRouteFilter {
	spec := &gwapiv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: gwapiv1.HTTPRouteExternalAuthGRPCProtocol,
		BackendRef:           h.backend().BackendObjectReference,
	}
	headers := func() []string { return pick(h, nil, []string{"X-A"}, []string{"x-a", "X-B"}, []string{"x a"}) }
	if h.IntN(2) == 0 {
		spec.GRPCAuthConfig = &gwapiv1.GRPCAuthConfig{AllowedRequestHeaders: headers()}
	} else {
		spec.ExternalAuthProtocol = gwapiv1.HTTPRouteExternalAuthHTTPProtocol
		spec.HTTPAuthConfig = &gwapiv1.HTTPAuthConfig{
			AllowedRequestHeaders: headers(), AllowedResponseHeaders: headers(),
			Path: pick(h, "", "/", "auth", "/a/b/", "/a/../b"),
		}
	}
	spec.ForwardBody = maybe(h, gwapiv1.ForwardBodyConfig{MaxSize: int32(h.IntN(3))})
	return gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterExternalAuth, ExternalAuth: spec}
}
