package translator

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// telling makes random objects like history, but most of them are right and say much about requests.
type telling struct{ *history }

// tellingWorld is a world of them. Its GatewayClass does not change, because Gateways keep a class that is lost.
func tellingWorld(t *testing.T, seed uint64) (telling, *World) {
	t.Helper()
	h, w := telling{newHistory(seed)}, newWorld(t)
	events := []Event{{Object: &gwapiv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: "c", UID: "c", Generation: 1},
		Spec:       gwapiv1.GatewayClassSpec{ControllerName: controllerName},
	}}}
	for _, make := range h.makers() {
		for range 5 {
			events = append(events, h.store(make()))
		}
	}
	if _, err := w.Apply(events); err != nil {
		t.Fatal(err)
	}
	return h, w
}

func (h telling) makers() []func() Object {
	return []func() Object{
		h.gateway, h.route, h.route, h.grpc, h.tcp, h.service, h.service, h.users, h.certificate, h.security, h.security,
		h.traffic, h.clients, h.tls, h.grant, h.labelled, h.set, h.envoyProxy,
	}
}

// change is a random change.
func (h telling) change() Event {
	if keys := slices.Sorted(maps.Keys(h.objects)); h.IntN(4) == 0 {
		key := pick(h.history, keys...)
		o := h.objects[key]
		delete(h.objects, key)
		return Event{Object: o, Deleted: true}
	}
	return h.store(pick(h.history, h.makers()...)())
}

// seldom is the value seldom, and nil otherwise.
func seldom[T any](h telling, v T) *T {
	if h.IntN(6) > 0 {
		return nil
	}
	return &v
}

func (h telling) gateway() Object {
	g := &gwapiv1.Gateway{ObjectMeta: h.meta("n1", pick(h.history, "g1", "g2"))}
	g.Spec.GatewayClassName = "c"
	g.Spec.AllowedListeners = &gwapiv1.AllowedListeners{
		Namespaces: &gwapiv1.ListenerNamespaces{From: ptr(gwapiv1.NamespacesFromAll)},
	}
	g.Spec.Listeners = h.listeners("l", 80, 5432)
	if h.IntN(3) == 0 {
		g.Spec.Infrastructure = &gwapiv1.GatewayInfrastructure{ParametersRef: &gwapiv1.LocalParametersReference{
			Group: v1alpha1.GroupName, Kind: v1alpha1.KindEnvoyProxy, Name: "p",
		}}
	}
	return g
}

func (h telling) set() Object {
	s := &gwapiv1.ListenerSet{ObjectMeta: h.meta("n2", pick(h.history, "ls1", "ls2"))}
	s.Spec.ParentRef = gwapiv1.ParentGatewayReference{
		Name: gwapiv1.ObjectName(pick(h.history, "g1", "g2")), Namespace: ptr(gwapiv1.Namespace("n1")),
	}
	for _, l := range h.listeners("s", 8080, 5433) {
		s.Spec.Listeners = append(s.Spec.Listeners, gwapiv1.ListenerEntry(l))
	}
	return s
}

func (h telling) listeners(prefix string, web, db gwapiv1.PortNumber) []gwapiv1.Listener {
	listeners := []gwapiv1.Listener{
		{Protocol: gwapiv1.HTTPProtocolType, Port: web, Hostname: seldom(h, gwapiv1.Hostname("*.example.com"))},
		{
			Protocol: gwapiv1.HTTPSProtocolType, Port: web + 363,
			Hostname: maybe(h.history, gwapiv1.Hostname("*.example.com")),
			TLS:      &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "tls"}}},
		},
		{Protocol: gwapiv1.TCPProtocolType, Port: db},
	}
	for i := range listeners {
		l := &listeners[i]
		l.Name = gwapiv1.SectionName(fmt.Sprint(prefix, i))
		l.AllowedRoutes = &gwapiv1.AllowedRoutes{Namespaces: &gwapiv1.RouteNamespaces{
			From: pick(h.history, ptr(gwapiv1.NamespacesFromAll), ptr(gwapiv1.NamespacesFromAll),
				ptr(gwapiv1.NamespacesFromSelector)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}},
		}}
		if l.Protocol == gwapiv1.HTTPSProtocolType && h.IntN(5) == 0 {
			l.Filters = &gwapiv1.ListenerFilters{Requests: []gwapiv1.ListenerFilter{{
				Type: gwapiv1.ListenerFilterExternalAuth, ExternalAuth: h.server(),
			}}}
		}
	}
	return listeners
}

// server is an authorization server that is mostly there.
func (h telling) server() *gwapiv1.HTTPExternalAuthFilter {
	return &gwapiv1.HTTPExternalAuthFilter{
		ExternalAuthProtocol: gwapiv1.HTTPRouteExternalAuthHTTPProtocol, HTTPAuthConfig: &gwapiv1.HTTPAuthConfig{},
		BackendRef: h.backend().BackendObjectReference,
	}
}

func (h telling) backend() (ref gwapiv1.BackendRef) {
	ref.Name, ref.Port = gwapiv1.ObjectName(pick(h.history, "s1", "s1", "s2", "s2", "s3")), ptr[int32](80)
	ref.Namespace, ref.Weight = seldom(h, gwapiv1.Namespace("n2")), maybe(h.history, int32(1+h.IntN(3)))
	return ref
}

func (h telling) parents() (refs []gwapiv1.ParentReference) {
	refs = append(refs, gwapiv1.ParentReference{
		Name: gwapiv1.ObjectName(pick(h.history, "g1", "g2")), Namespace: ptr(gwapiv1.Namespace("n1")),
	})
	if h.IntN(4) == 0 {
		refs = append(refs, gwapiv1.ParentReference{
			Kind: ptr(gwapiv1.Kind("ListenerSet")), Name: gwapiv1.ObjectName(pick(h.history, "ls1", "ls2")),
			Namespace:   ptr(gwapiv1.Namespace("n2")),
			SectionName: maybe(h.history, gwapiv1.SectionName("s0")),
		})
	}
	return refs
}

func (h telling) route() Object {
	r := &gwapiv1.HTTPRoute{ObjectMeta: h.meta(h.namespace(), pick(h.history, "r1", "r2"))}
	r.Spec.ParentRefs = h.parents()
	r.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(pick(h.history, "a.example.com", "b.example.com"))}
	for i := range 1 + h.IntN(2) {
		rule := gwapiv1.HTTPRouteRule{Name: ptr(gwapiv1.SectionName(fmt.Sprint("rule", i)))}
		rule.Matches = []gwapiv1.HTTPRouteMatch{{Path: &gwapiv1.HTTPPathMatch{
			Type: seldom(h, gwapiv1.PathMatchRegularExpression), Value: ptr(pick(h.history, "/", "/a", "/b.*", "/(")),
		}}}
		if rule.Matches[0].Path.Type == nil {
			rule.Matches[0].Path.Value = ptr(pick(h.history, "/", "/a"))
		}
		if h.IntN(5) == 0 {
			rule.Filters = []gwapiv1.HTTPRouteFilter{{
				Type: gwapiv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &gwapiv1.HTTPRequestRedirectFilter{
					Scheme: maybe(h.history, "https"), StatusCode: maybe(h.history, 301),
				},
			}}
			r.Spec.Rules = append(r.Spec.Rules, rule)
			continue
		}
		for range 1 + h.IntN(2) {
			rule.BackendRefs = append(rule.BackendRefs, gwapiv1.HTTPBackendRef{BackendRef: h.backend()})
		}
		h.extras(&rule)
		r.Spec.Rules = append(r.Spec.Rules, rule)
	}
	return r
}

func (h telling) extras(rule *gwapiv1.HTTPRouteRule) {
	add := func(f gwapiv1.HTTPRouteFilter) { rule.Filters = append(rule.Filters, f) }
	if h.IntN(3) == 0 {
		mirror := &gwapiv1.HTTPRequestMirrorFilter{BackendRef: h.backend().BackendObjectReference}
		add(gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterRequestMirror, RequestMirror: mirror})
	}
	if h.IntN(4) == 0 {
		cors := &gwapiv1.HTTPCORSFilter{AllowOrigins: []gwapiv1.CORSOrigin{"https://a.example.com"}}
		add(gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterCORS, CORS: cors})
	}
	if h.IntN(4) == 0 {
		add(gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterExternalAuth, ExternalAuth: h.server()})
	}
	rule.Retry = maybe(h.history, gwapiv1.HTTPRouteRetry{
		Attempts: maybe(h.history, h.IntN(3)), Codes: pick(h.history, nil, []gwapiv1.HTTPRouteRetryStatusCode{502}),
	})
	rule.Timeouts = maybe(h.history, gwapiv1.HTTPRouteTimeouts{
		Request:        maybe[gwapiv1.Duration](h.history, "3s"),
		BackendRequest: maybe(h.history, pick[gwapiv1.Duration](h.history, "1s", "10s")),
	})
}

func (h telling) grpc() Object {
	r := &gwapiv1.GRPCRoute{ObjectMeta: h.meta(h.namespace(), "r1")}
	r.Spec.ParentRefs = h.parents()
	r.Spec.Hostnames = []gwapiv1.Hostname{gwapiv1.Hostname(pick(h.history, "a.example.com", "c.example.com"))}
	r.Spec.Rules = []gwapiv1.GRPCRouteRule{{BackendRefs: []gwapiv1.GRPCBackendRef{{BackendRef: h.backend()}}}}
	return r
}

func (h telling) tcp() Object {
	r := &gwapiv1.TCPRoute{ObjectMeta: h.meta(h.namespace(), pick(h.history, "r1", "r2"))}
	r.Spec.ParentRefs = h.parents()
	r.Spec.Rules = []gwapiv1.TCPRouteRule{{BackendRefs: []gwapiv1.BackendRef{h.backend()}}}
	return r
}

func (h telling) service() Object {
	s := &corev1.Service{ObjectMeta: h.meta(h.namespace(), pick(h.history, "s1", "s2"))}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	s.Generation = 0
	return s
}

func (h telling) users() Object {
	s := &corev1.Secret{ObjectMeta: h.meta(h.namespace(), "users"), Data: map[string][]byte{
		".htpasswd": []byte(pick(h.history, "a", "b", "") + ":{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
	}}
	s.Generation = 0
	return s
}

func (h telling) certificate() Object {
	s := &corev1.Secret{ObjectMeta: h.meta(h.namespace(), "tls"), Type: corev1.SecretTypeTLS, Data: pick(h.history, pairs...)}
	s.Generation = 0
	return s
}

func (h telling) targets(routes ...gwapiv1.Kind) v1alpha1.PolicyTargetReferences {
	switch h.IntN(5) {
	case 0:
		targets := wholeTarget("Gateway", pick(h.history, "g1", "g2"))
		targets.TargetRefs[0].SectionName = maybe(h.history, gwapiv1.SectionName(pick(h.history, "l0", "l1")))
		return targets
	case 1:
		return wholeTarget("ListenerSet", "ls1")
	case 2:
		return wholeTarget("Gateway", pick(h.history, "g1", "g2"))
	}
	kind := pick(h.history, routes...)
	targets := wholeTarget(string(kind), pick(h.history, "r1", "r2"))
	if kind == "HTTPRoute" {
		targets.TargetRefs[0].SectionName = seldom(h, gwapiv1.SectionName("rule0"))
	}
	return targets
}

// merging is a mergeType for policies on routes.
func (h telling) merging(targets v1alpha1.PolicyTargetReferences) *v1alpha1.MergeType {
	if kind := targets.TargetRefs[0].Kind; kind == "Gateway" || kind == "ListenerSet" {
		return nil
	}
	return maybe(h.history, pick(h.history, v1alpha1.StrategicMerge, v1alpha1.JSONMerge))
}

func (h telling) security() Object {
	p := &v1alpha1.SecurityPolicy{ObjectMeta: h.meta(h.namespace(), pick(h.history, "sp1", "sp2", "sp3"))}
	p.Spec.PolicyTargetReferences = h.targets("HTTPRoute", "HTTPRoute", "GRPCRoute", "TCPRoute")
	p.Spec.MergeType = h.merging(p.Spec.PolicyTargetReferences)
	if h.IntN(3) == 0 {
		p.Spec.BasicAuth = &v1alpha1.BasicAuth{Users: gwapiv1.SecretObjectReference{Name: "users"}}
	}
	if h.IntN(4) == 0 {
		server := h.backend().BackendObjectReference
		p.Spec.ExtAuth = &v1alpha1.ExtAuth{FailOpen: maybe(h.history, true), HTTP: &v1alpha1.HTTPExtAuthService{
			BackendCluster: v1alpha1.BackendCluster{BackendRef: &server}, HeadersToBackend: []string{"x-user"},
		}}
	}
	if h.IntN(3) == 0 {
		p.Spec.CORS = &v1alpha1.CORS{AllowOrigins: []v1alpha1.Origin{"https://b.example.com"}}
	}
	if h.IntN(3) == 0 {
		p.Spec.Authorization = &v1alpha1.Authorization{DefaultAction: maybe(h.history, v1alpha1.AuthorizationActionAllow)}
	}
	return p
}

func (h telling) traffic() Object {
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: h.meta(h.namespace(), pick(h.history, "b1", "b2", "b3"))}
	p.Spec.PolicyTargetReferences = h.targets("HTTPRoute", "GRPCRoute", "TCPRoute")
	p.Spec.MergeType = h.merging(p.Spec.PolicyTargetReferences)
	p.Spec.Timeout = maybe(h.history, v1alpha1.Timeout{
		TCP: maybe(h.history, v1alpha1.TCPTimeout{ConnectTimeout: ptr(gwapiv1.Duration("1s"))}),
		HTTP: maybe(h.history, v1alpha1.HTTPTimeout{
			RequestTimeout: maybe[gwapiv1.Duration](h.history, "5s"), StreamIdleTimeout: maybe[gwapiv1.Duration](h.history, "1m"),
		}),
	})
	p.Spec.Retry = maybe(h.history, v1alpha1.Retry{
		NumRetries: maybe(h.history, int32(h.IntN(4))),
		PerRetry:   maybe(h.history, v1alpha1.PerRetryPolicy{Timeout: maybe[gwapiv1.Duration](h.history, "2s")}),
	})
	return p
}

func (h telling) clients() Object {
	p := &v1alpha1.ClientTrafficPolicy{ObjectMeta: h.meta("n1", pick(h.history, "c1", "c2"))}
	p.Spec.PolicyTargetReferences = wholeTarget("Gateway", pick(h.history, "g1", "g2"))
	p.Spec.TargetRefs[0].SectionName = maybe(h.history, gwapiv1.SectionName("l1"))
	if h.IntN(2) == 0 {
		p.Namespace, p.Spec.PolicyTargetReferences = "n2", wholeTarget("ListenerSet", pick(h.history, "ls1", "ls2"))
	}
	p.Spec.Path = maybe(h.history, v1alpha1.PathSettings{
		DisableMergeSlashes:  maybe(h.history, true),
		EscapedSlashesAction: maybe(h.history, pick[v1alpha1.PathEscapedSlashAction](h.history, "KeepUnchanged", "RejectRequest", "Guess")),
	})
	return p
}

func (h telling) tls() Object {
	p := &gwapiv1.BackendTLSPolicy{ObjectMeta: h.meta(h.namespace(), "bt")}
	ref := gwapiv1.LocalPolicyTargetReferenceWithSectionName{SectionName: seldom(h, gwapiv1.SectionName("http"))}
	ref.Kind, ref.Name = "Service", "s2"
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{ref}
	p.Spec.Validation.Hostname = gwapiv1.PreciseHostname(pick(h.history, "a.example.com", "b.example.com"))
	p.Spec.Validation.WellKnownCACertificates = pick(h.history, ptr(gwapiv1.WellKnownCACertificatesSystem),
		ptr(gwapiv1.WellKnownCACertificatesSystem), nil)
	return p
}
