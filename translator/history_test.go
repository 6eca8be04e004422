package translator

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"gatehouse/api/crdtest"
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/certificate"
	"gatehouse/policies/envoyproxy"
	"gatehouse/policies/retrybudget"
	"gatehouse/translator/flow"
)

// history makes random objects of all kinds over so few names that they meet often.
type history struct {
	*rand.Rand
	generation int64
	objects    map[string]Object
	fleets     map[string]FleetStatus
	proxies    map[string]Proxy
	// fetched is what came of fetches.
	fetched map[string]Fetched
	// wanted are the keys of all fetches so far.
	wanted []string
	// lost are the classes that Gateways had last, which a fresh start is told.
	lost []flow.Row[*gwapiv1.GatewayClass]
	// clock is the time, and certificates expire in it.
	clock time.Time
	// parts are hashes of what was sent to Envoys, which may refuse it.
	parts []string
	crds  []*crdtest.Kind
	// bundles reports whether the cluster serves ClusterTrustBundles.
	bundles bool
	// dropped reports whether the CRD of Gateways does not have the field routability.
	dropped bool
}

func newHistory(seed uint64) *history {
	kinds, err := crds()
	if err != nil {
		panic(err) // The CRDs are part of the repository and of its modules.
	}
	return &history{
		Rand: rand.New(rand.NewPCG(seed, 1)), objects: map[string]Object{}, fleets: map[string]FleetStatus{},
		proxies: map[string]Proxy{}, fetched: map[string]Fetched{}, clock: time.Now(), crds: kinds,
	}
}

func pick[T any](h *history, of ...T) T { return of[h.IntN(len(of))] }

func maybe[T any](h *history, v T) *T {
	if h.IntN(2) == 0 {
		return nil
	}
	return &v
}

func (h *history) meta(namespace, name string) metav1.ObjectMeta {
	h.generation++
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(namespace + name), Generation: h.generation,
		CreationTimestamp: metav1.NewTime(time.Unix(int64(h.IntN(3)), 0)),
		Labels:            map[string]string{"team": pick(h, "a", "b")},
	}
}

// testRateLimits is the service that counts requests in histories.
var testRateLimits = &RateLimits{
	Host: "gatehouse-ratelimit.n1.svc.cluster.local", Port: 8081, Timeout: 20 * time.Millisecond,
	TLS: &v1alpha1.BackendTLSSettings{SNI: ptr(gwapiv1.PreciseHostname("gatehouse-ratelimit.n1.svc.cluster.local"))},
}

// fleetsNamespace is where the Envoys of histories run.
const fleetsNamespace = "n1"

func (h *history) namespace() string { return pick(h, "n1", "n2") }

// object is a random one of any kind: every other time made by hand, so that much of it fits together, else of what its
// CRD admits.
func (h *history) object() Object {
	if len(h.crds) > 0 && h.IntN(2) == 0 {
		if o := h.fromSchema(pick(h, h.crds...)); o != nil {
			return o
		}
	}
	return pick(h, h.class, h.gateway, h.gateway, h.listenerSet, h.route, h.route, h.route, h.grpcRoute, h.layer4Route,
		h.routeFilter, h.service, h.serviceImport, h.slice, h.secret, h.labelled, h.grant,
		h.envoyProxy, h.backendTraffic, h.security, h.clientTraffic, h.base, h.over, h.unserved, h.configMap, h.bundle,
		h.backendTLS, h.retryBudget, h.listing, h.issuerObject, h.issuance, h.issuance, h.solverRoute)()
}

func (h *history) class() Object {
	c := &gwapiv1.GatewayClass{
		ObjectMeta: h.meta("", "c"),
		Spec: gwapiv1.GatewayClassSpec{ControllerName: pick[gwapiv1.GatewayController](h, controllerName, controllerName,
			"other.example.com/x")},
	}
	if h.IntN(3) == 0 {
		ns := gwapiv1.Namespace("n1")
		c.Spec.ParametersRef = &gwapiv1.ParametersReference{
			Group: v1alpha1.GroupName, Kind: v1alpha1.KindEnvoyProxy,
			Name: "p", Namespace: &ns,
		}
	}
	return c
}

func (h *history) envoyProxy() Object {
	same := h.IntN(2) == 0
	return &v1alpha1.EnvoyProxy{ObjectMeta: h.meta("n1", "p"), Spec: v1alpha1.EnvoyProxySpec{
		IPFamily: maybe(h, pick(h, v1alpha1.IPFamilyIPv4, v1alpha1.IPFamilyIPv6, v1alpha1.IPFamilyDualStack)),
		Provider: &v1alpha1.EnvoyProxyProvider{
			Type: "Kubernetes", Kubernetes: &v1alpha1.EnvoyProxyKubernetesProvider{UseListenerPortAsContainerPort: &same},
		},
	}}
}

func (h *history) hostname() string {
	return pick(h, "a.example.com", "b.example.com", "*.example.com", "x.a.example.com")
}

func (h *history) gateway() Object {
	g := &gwapiv1.Gateway{
		ObjectMeta: h.meta(h.namespace(), pick(h, "g1", "g2")),
		Spec:       gwapiv1.GatewaySpec{GatewayClassName: "c"},
	}
	switch h.IntN(6) {
	case 0, 1:
		g.Annotations = map[string]string{ScopedRoutesAnnotation: "true"}
	case 2:
		g.Annotations = h.issued()
	}
	for range h.IntN(2) * h.IntN(3) {
		g.Spec.Addresses = append(g.Spec.Addresses, gwapiv1.GatewaySpecAddress{
			Type:  maybe(h, pick(h, gwapiv1.IPAddressType, gwapiv1.HostnameAddressType, "example.com/other")),
			Value: pick(h, "", "10.2.2.2", "10.3.3.3", "127.0.0.1"),
		})
	}
	if h.IntN(3) == 0 {
		g.Spec.TLS = h.gatewayTLS()
	}
	if h.IntN(4) > 0 {
		g.Spec.AllowedListeners = &gwapiv1.AllowedListeners{Namespaces: &gwapiv1.ListenerNamespaces{
			From: pick(h, ptr(gwapiv1.NamespacesFromAll), ptr(gwapiv1.NamespacesFromSame),
				ptr(gwapiv1.NamespacesFromSelector)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}},
		}}
	}
	g.Spec.Listeners = h.listeners()
	return g
}

// elsewhere is a namespace for a reference; half as often as none, since few references across namespaces lead
// anywhere.
func (h *history) elsewhere() *gwapiv1.Namespace {
	return pick(h, nil, nil, ptr(gwapiv1.Namespace(h.namespace())))
}

func ptr[T any](v T) *T { return &v }

func (h *history) parents() (refs []gwapiv1.ParentReference) {
	for range 1 + h.IntN(2) {
		ref := gwapiv1.ParentReference{
			Name: gwapiv1.ObjectName(pick(h, "g1", "g1", "g2", "g2", "g3")), Namespace: h.elsewhere(),
			SectionName: maybe(h, gwapiv1.SectionName("l1")),
		}
		if h.IntN(3) == 0 {
			ref.Kind, ref.Name = ptr(gwapiv1.Kind("ListenerSet")), gwapiv1.ObjectName(pick(h, "ls1", "ls2", "ls3"))
		}
		refs = append(refs, ref)
	}
	return refs
}

func (h *history) hostnames() (hosts []gwapiv1.Hostname) {
	for range h.IntN(3) {
		hosts = append(hosts, gwapiv1.Hostname(h.hostname()))
	}
	return hosts
}

func (h *history) backend() (ref gwapiv1.BackendRef) {
	ref.Name, ref.Port, ref.Namespace = gwapiv1.ObjectName(pick(h, "s1", "s2")), ptr[int32](80), h.elsewhere()
	ref.Weight = maybe(h, int32(h.IntN(3)))
	h.asListing(&ref.BackendObjectReference)
	return ref
}

func (h *history) layer4Route() Object {
	meta, refs := h.meta(h.namespace(), pick(h, "r1", "r2")), h.parents()
	name, backends := maybe(h, gwapiv1.SectionName("rule")), []gwapiv1.BackendRef{}
	for range h.IntN(3) {
		backends = append(backends, h.backend())
	}
	switch h.IntN(3) {
	case 0:
		return &gwapiv1.TLSRoute{ObjectMeta: meta, Spec: gwapiv1.TLSRouteSpec{
			CommonRouteSpec: gwapiv1.CommonRouteSpec{ParentRefs: refs}, Hostnames: h.hostnames(),
			Rules: []gwapiv1.TLSRouteRule{{Name: name, BackendRefs: backends}},
		}}
	case 1:
		return &gwapiv1.TCPRoute{ObjectMeta: meta, Spec: gwapiv1.TCPRouteSpec{
			CommonRouteSpec: gwapiv1.CommonRouteSpec{ParentRefs: refs},
			Rules:           []gwapiv1.TCPRouteRule{{Name: name, BackendRefs: backends}},
		}}
	}
	return &gwapiv1.UDPRoute{ObjectMeta: meta, Spec: gwapiv1.UDPRouteSpec{
		CommonRouteSpec: gwapiv1.CommonRouteSpec{ParentRefs: refs},
		Rules:           []gwapiv1.UDPRouteRule{{Name: name, BackendRefs: backends}},
	}}
}

func (h *history) grpcRoute() Object {
	r := &gwapiv1.GRPCRoute{ObjectMeta: h.meta(h.namespace(), pick(h, "r1", "r2"))}
	r.Spec.ParentRefs, r.Spec.Hostnames = h.parents(), h.hostnames()
	for range 1 + h.IntN(2) {
		rule := gwapiv1.GRPCRouteRule{Name: maybe(h, gwapiv1.SectionName("rule"))}
		for range h.IntN(3) {
			rule.Matches = append(rule.Matches, gwapiv1.GRPCRouteMatch{Method: &gwapiv1.GRPCMethodMatch{
				Type:    pick(h, ptr(gwapiv1.GRPCMethodMatchExact), ptr(gwapiv1.GRPCMethodMatchRegularExpression)),
				Service: maybe(h, "a.b"), Method: maybe(h, pick(h, "M", "(")),
			}})
		}
		for range h.IntN(3) {
			rule.BackendRefs = append(rule.BackendRefs, gwapiv1.GRPCBackendRef{BackendRef: h.backend()})
		}
		r.Spec.Rules = append(r.Spec.Rules, rule)
	}
	return r
}

func (h *history) route() Object {
	r := &gwapiv1.HTTPRoute{ObjectMeta: h.meta(h.namespace(), pick(h, "r1", "r2", "r3"))}
	r.Spec.ParentRefs, r.Spec.Hostnames = h.parents(), h.hostnames()
	for range 1 + h.IntN(2) {
		rule := gwapiv1.HTTPRouteRule{Name: maybe(h, gwapiv1.SectionName("rule"))}
		for range h.IntN(3) {
			rule.Matches = append(rule.Matches, gwapiv1.HTTPRouteMatch{Path: &gwapiv1.HTTPPathMatch{
				Type: pick(h, ptr(gwapiv1.PathMatchExact), ptr(gwapiv1.PathMatchPathPrefix),
					ptr(gwapiv1.PathMatchRegularExpression)), Value: ptr(pick(h, "/", "/a", "/a/b", "/(")),
			}})
		}
		for range h.IntN(3) {
			rule.BackendRefs = append(rule.BackendRefs, gwapiv1.HTTPBackendRef{BackendRef: h.backend()})
		}
		h.filters(&rule)
		r.Spec.Rules = append(r.Spec.Rules, rule)
	}
	return r
}

func (h *history) service() Object {
	s := &corev1.Service{
		ObjectMeta: h.meta(h.namespace(), pick(h, "s1", "s2")),
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{
			Name: pick(h, "http", "web"),
			Port: pick[int32](h, 80, 80, 81),
		}}},
	}
	s.Spec.Ports[0].AppProtocol = pick(h, nil, nil, nil, ptr("kubernetes.io/ws"), ptr("kubernetes.io/wss"), ptr("https"))
	s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "udp", Port: 80, Protocol: corev1.ProtocolUDP})
	s.Generation = 0 // As the API server has it.
	if h.IntN(5) == 0 {
		s.Spec = corev1.ServiceSpec{
			Type:         corev1.ServiceTypeExternalName,
			ExternalName: pick(h, "a.example.com", "b.example.com", "localhost"),
		}
	}
	return s
}

func (h *history) slice() Object {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  h.meta(h.namespace(), pick(h, "e1", "e2")),
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	s.Labels = map[string]string{pick(h, discoveryv1.LabelServiceName, discoveryv1.LabelServiceName,
		mcsv1alpha1.LabelServiceName): pick(h, "s1", "s2")}
	if h.IntN(4) == 0 {
		maps.Copy(s.Labels, envoyproxy.OwnerLabels(h.namespace(), pick(h, "g1", "g2")))
	}
	s.Ports = []discoveryv1.EndpointPort{
		{Name: ptr(pick(h, "http", "web")), Port: ptr(pick[int32](h, 8080, 9090))},
		{Name: ptr("udp"), Port: ptr[int32](8080), Protocol: ptr(corev1.ProtocolUDP)},
	}
	network := "10.0.0."
	if h.IntN(3) == 0 {
		s.AddressType, network = discoveryv1.AddressTypeIPv6, "fd00::"
	}
	for range h.IntN(3) {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{fmt.Sprintf("%s%d", network, h.IntN(4))},
			Conditions: discoveryv1.EndpointConditions{Ready: maybe(h, h.IntN(2) == 0), Serving: maybe(h, true)},
			Zone:       maybe(h, pick(h, "a", "b")),
			TargetRef:  maybe(h, corev1.ObjectReference{Kind: "Pod", UID: types.UID(pick(h, "pod1", "pod2"))}),
		})
	}
	return s
}

func (h *history) secret() Object {
	s := &corev1.Secret{
		ObjectMeta: h.meta(h.namespace(), pick(h, "s", "s", "s", RateLimitService, RateLimitClients)), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{"tls.crt": []byte("no"), "tls.key": []byte("no")},
	}
	s.Generation = 0
	if h.IntN(2) == 0 {
		defer func() { s.Data["credential"] = []byte(pick(h, "secret", "other", "two\nlines")) }()
	}
	if h.IntN(3) > 0 {
		s.Data = maps.Clone(pick(h, pairs...))
		s.Data[certificate.AuthoritiesKey] = s.Data["tls.crt"]
	}
	return s
}

func (h *history) labelled() Object {
	n := &corev1.Namespace{ObjectMeta: h.meta("", h.namespace())}
	n.Generation = 0
	return n
}

func (h *history) grant() Object {
	return &gwapiv1.ReferenceGrant{ObjectMeta: h.meta(h.namespace(), "grant"), Spec: gwapiv1.ReferenceGrantSpec{
		From: []gwapiv1.ReferenceGrantFrom{
			{Group: gwapiv1.GroupName, Kind: pick[gwapiv1.Kind](h, "HTTPRoute", "GRPCRoute", "TLSRoute", "UDPRoute", "Gateway",
				"ListenerSet"), Namespace: gwapiv1.Namespace(h.namespace())},
			{Group: v1alpha1.GroupName, Kind: pick[gwapiv1.Kind](h, "BackendTrafficPolicy", v1alpha1.KindHTTPRouteFilter), Namespace: "n1"},
		},
		To: []gwapiv1.ReferenceGrantTo{
			{Kind: "Service"},
			{Group: mcsv1alpha1.GroupName, Kind: "ServiceImport"},
			{Group: v1alpha1.GroupName, Kind: v1alpha1.KindBackend},
			{Kind: "Secret"},
			{Kind: "ConfigMap"},
			{Group: gwapiv1.GroupName, Kind: "HTTPRoute"},
		},
	}}
}

func (h *history) targets() v1alpha1.PolicyTargetReferences {
	if h.IntN(4) == 0 {
		return v1alpha1.PolicyTargetReferences{TargetSelectors: []v1alpha1.TargetSelector{{
			Kind:        pick[gwapiv1.Kind](h, "HTTPRoute", "GRPCRoute", "Gateway", "ListenerSet"),
			MatchLabels: map[string]string{"team": "a"},
			MatchExpressions: pick(h, nil, []metav1.LabelSelectorRequirement{
				{
					Key: "team", Operator: pick(h, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn),
					Values: []string{"b", pick(h, "a", "c")},
				},
			}),
			Namespaces: &v1alpha1.TargetSelectorNamespaces{From: pick(h, v1alpha1.TargetNamespacesSame,
				v1alpha1.TargetNamespacesAll)},
		}}}
	}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{SectionName: maybe(h,
		gwapiv1.SectionName(pick(h, "l1", "rule")))}
	target.Group = gwapiv1.GroupName
	switch h.IntN(5) {
	case 0, 1:
		target.Kind, target.Name = "Gateway", "g1"
	case 2:
		target.Kind, target.Name = "ListenerSet", "ls1"
	default:
		target.Kind, target.Name = pick[gwapiv1.Kind](h, "HTTPRoute", "GRPCRoute", "TCPRoute"), "r1"
	}
	return v1alpha1.PolicyTargetReferences{TargetRefs: []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}}
}

func (h *history) backendTraffic() Object {
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: h.meta(h.namespace(), pick(h, "b1", "b2"))}
	p.Spec.PolicyTargetReferences = h.targets()
	p.Spec.MergeType = h.mergeType(&p.Spec.PolicyTargetReferences)
	p.Spec.LoadBalancer = &v1alpha1.LoadBalancer{Type: pick[v1alpha1.LoadBalancerType](h, "Random", "RoundRobin",
		"LeastRequest")}
	if h.IntN(3) == 0 {
		p.Spec.LoadBalancer = &v1alpha1.LoadBalancer{
			Type:           "ConsistentHash",
			ConsistentHash: &v1alpha1.ConsistentHash{Type: "SourceIP"},
		}
	}
	if h.IntN(3) == 0 {
		p.Spec.RateLimit = &v1alpha1.RateLimitSpec{Global: &v1alpha1.GlobalRateLimit{Rules: []v1alpha1.RateLimitRule{{
			Limit:  v1alpha1.RateLimitValue{Requests: int64(h.IntN(3)), Unit: pick[v1alpha1.RateLimitUnit](h, "Hour", "Hour", "Noon")},
			Shared: maybe(h, true),
		}}}}
	}
	return p
}

func (h *history) security() Object {
	p := &v1alpha1.SecurityPolicy{ObjectMeta: h.meta(h.namespace(), "sp")}
	p.Annotations = map[string]string{"through": pick(h, "", "Service//s1", "Service//s1,Service//s2", "Backend//b1")}
	p.Spec.PolicyTargetReferences = h.targets()
	p.Spec.MergeType = h.mergeType(&p.Spec.PolicyTargetReferences)
	if h.IntN(4) == 0 {
		p.Spec.Unread = []v1alpha1.UnreadField{{Path: "spec.jwt", Known: true}}
	}
	if h.IntN(3) == 0 {
		p.Spec.CORS = &v1alpha1.CORS{AllowOrigins: []v1alpha1.Origin{"https://a.example.com"}}
		return p
	}
	p.Spec.Authorization = &v1alpha1.Authorization{Rules: []v1alpha1.AuthorizationRule{{
		Action: "Allow", Principal: &v1alpha1.Principal{ClientCIDRs: []v1alpha1.CIDR{pick[v1alpha1.CIDR](h, "10.0.0.0/8",
			"10.0.0.0/99")}},
	}}}
	return p
}

// pass lets time pass, so that some of the certificates expire, which hold for an hour.
func (h *history) pass() {
	if h.IntN(4) == 0 {
		h.clock = h.clock.Add(time.Duration(h.IntN(3)) * 20 * time.Minute)
	}
}

// event makes the next change and remembers what is there after it.
func (h *history) event() Event {
	switch h.IntN(15) {
	case 14:
		f := Fetched{Key: pick(h, append([]string{"unknown"}, h.wanted...)...)}
		if h.IntN(4) == 0 {
			delete(h.fetched, f.Key)
			return Event{Fetched: &f, Deleted: true}
		}
		f.Content, f.Failure = pick(h, nil, []byte("list 1"), []byte("list 2"), []byte("other")),
			pick(h, "", "it answers 404")
		f.File, f.Present = File{Digest: pick(h, "sha256:1", "sha256:2")}, pick(h, true, false)
		h.fetched[f.Key] = f
		return Event{Fetched: &f}
	case 13:
		h.dropped = !h.dropped
		return Event{Dropped: ptr(FieldRoutability), Deleted: !h.dropped}
	case 12:
		h.bundles = !h.bundles
		return Event{Served: &ClusterTrustBundles, Deleted: !h.bundles}
	case 0:
		r := FleetReport{
			Key: h.namespace() + "/" + pick(h, "g1", "g2"),
			Fleet: FleetStatus{
				Available: int32(h.IntN(2)), Desired: 1, Failure: pick(h, "", "", "the name is taken"),
				Addresses: []gwapiv1.GatewayStatusAddress{{Value: "10.1.1.1"}},
			},
		}
		if h.IntN(2) == 0 {
			r.Fleet.Static = []gwapiv1.GatewayStatusAddress{{
				Value:       pick(h, "10.2.2.2", "10.3.3.3"),
				Routability: maybe(h, gwapiv1.GatewayAddressRoutabilityCluster),
			}}
		}
		h.fleets[r.Key] = r.Fleet
		return Event{Fleet: &r}
	case 1:
		p := Proxy{
			Fleet: h.namespace() + "/g1", Node: pick(h, "x", "y"), Listeners: map[string]string{"l": "1"},
			Routes: map[string]bool{h.namespace() + "/g1/" + pick(h, "l0", "n1/ls1/l0"): true},
		}
		if len(h.parts) > 0 && h.IntN(2) == 0 {
			p.Guilty = map[string]string{pick(h, h.parts...): "no", pick(h, h.parts...): pick(h, "never", "no")}
		}
		if h.IntN(3) == 0 {
			delete(h.proxies, p.key())
			return Event{Proxy: &p, Deleted: true}
		}
		h.proxies[p.key()] = p
		return Event{Proxy: &p}
	case 2, 3, 4:
		if keys := slices.Sorted(maps.Keys(h.objects)); len(keys) > 0 {
			key := pick(h, keys...)
			o := h.objects[key]
			delete(h.objects, key)
			return Event{Object: o, Deleted: true}
		}
	}
	return h.store(h.object())
}

func (h *history) store(o Object) Event {
	h.objects[fmt.Sprintf("%T/%s", o, keyOf(o))] = o
	return Event{Object: o}
}

// opening is what most histories need to get anywhere: a class, Gateways, routes and Services, as random as all others.
func (h *history) opening() (events []Event) {
	for _, make := range []func() Object{
		h.class, h.gateway, h.gateway, h.gateway, h.listenerSet, h.listenerSet, h.service,
		h.service, h.service, h.service, h.secret, h.secret, h.slice, h.configMap, h.configMap, h.configMap, h.bundle,
		h.bundle, h.backendTLS, h.backendTLS, h.backendTLS, h.backendTLS, h.route, h.route, h.route, h.route, h.route, h.base,
		h.base, h.over, h.over, h.clientTraffic, h.clientTraffic,
	} {
		events = append(events, h.store(make()))
	}
	return events
}

// sent remembers the parts of what a batch sends.
func (h *history) sent(o Outcome) {
	for _, d := range o.Deltas {
		for _, r := range d.Changed {
			for _, p := range r.Parts() {
				h.parts = append(h.parts, p.Hash)
			}
		}
	}
	h.wanted = append(h.wanted, slices.Sorted(maps.Keys(o.Fetches))...)
}

// fresh computes everything from nothing with the plain loop.
func (h *history) fresh(w *World) *flow.Oracle {
	t := w.tables
	oracle := flow.NewOracle(t.graph)
	flow.SetOracle(oracle, t.in.clock, clockKey, w.clock)
	for _, o := range h.objects {
		in := t.in.byType[reflect.TypeOf(o)]
		in.put(oracle, in.key(o), o)
	}
	for _, lost := range h.lost {
		flow.SetOracle(oracle, t.in.lostClasses, lost.Key, lost.Value)
	}
	if h.bundles {
		flow.SetOracle(oracle, t.in.served, ClusterTrustBundles.String(), true)
	}
	if h.dropped {
		flow.SetOracle(oracle, t.in.dropped, string(FieldRoutability), true)
	}
	for key, f := range h.fleets {
		flow.SetOracle(oracle, t.in.fleets, key, f)
	}
	for key, f := range h.fetched {
		flow.SetOracle(oracle, t.in.fetched, key, f)
	}
	for key, p := range h.proxies {
		flow.SetOracle(oracle, t.in.proxies, key, p)
	}
	oracle.Run()
	return oracle
}

// world is one in which everything is served that the history has objects for.
func (h *history) world(t testing.TB) *World {
	t.Helper()
	w := newWorld(t)
	w.tables.settings.EnabledKinds = []string{retrybudget.Kind, v1alpha1.KindBackend}
	w.tables.settings.Namespace, w.tables.settings.RateLimits = fleetsNamespace, testRateLimits
	w.now = func() time.Time { return h.clock }
	return w
}

// play applies a random history in batches, tries objects in between, and compares every table with a fresh start.
func play(t *testing.T, seed uint64, batches int) {
	t.Helper()
	h := newHistory(seed)
	w := h.world(t)
	w.tables.settings.ExternalNames, w.tables.needs = seed%2 == 0, testNeeds
	events := h.opening()
	kept := map[string]*Status{} // What a writer of statuses remembers.
	for range batches {
		for range 1 + h.IntN(6) {
			events = append(events, h.event())
		}
		h.pass()
		outcome, err := w.Apply(events)
		if err != nil {
			t.Fatal(err)
		}
		h.sent(outcome)
		wantValid(t, outcome)
		keep(kept, outcome)
		events = nil
		if _, err := w.Try(t.Context(), h.object()); err != nil {
			t.Fatal(err)
		}
	}
	h.lost = w.tables.in.lostClasses.All(w.engine.Read())
	if diff := flow.Diff(w.engine, h.fresh(w)); diff != "" {
		t.Fatalf("seed %d: the tables differ from a fresh start: %s", seed, diff)
	}
	has := map[string]*Status{}
	for _, table := range w.tables.statusTables() {
		for _, row := range table.All(w.engine.Read()) {
			has[statusName(row.Value.Object)] = row.Value
		}
	}
	if !maps.Equal(kept, has) {
		t.Fatalf("seed %d: the outcomes leave %d statuses, the tables have %d, or others", seed, len(kept), len(has))
	}
}

// keep does what the writer of statuses does with an outcome.
func keep(statuses map[string]*Status, o Outcome) {
	for _, s := range o.Statuses {
		statuses[statusName(s.Object)] = s
	}
	for _, gone := range o.Forgotten {
		delete(statuses, statusName(gone))
	}
}

func statusName(o Object) string { return fmt.Sprintf("%T/%s", o, keyOf(o)) }

// TestAnyHistoryEqualsFresh: whatever happened before, the tables are those of a control plane that starts now, bytes
// included.
func TestAnyHistoryEqualsFresh(t *testing.T) {
	for seed := range uint64(120) {
		play(t, seed, 12)
	}
}

func FuzzHistory(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Add(uint64(7777), uint8(30))
	f.Fuzz(func(t *testing.T, seed uint64, batches uint8) { play(t, seed, 1+int(batches)%40) })
}
