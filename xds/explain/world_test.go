package explain

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

const controller = "example.com/gatehouse"

// random makes routes and requests of so few words that they meet often.
type random struct{ *mathrand.Rand }

func pick[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

func maybe[T any](r random, v T) *T {
	if r.IntN(2) == 0 {
		return nil
	}
	return &v
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, Generation: 1}
}

// hostnames are those of listeners and routes.
var hostnames = []gwapiv1.Hostname{
	"a.example.com", "b.example.com", "x.a.example.com", "*.example.com", "*.a.example.com", "*.com",
}

func (r random) routeHosts() (hosts []gwapiv1.Hostname) {
	for range r.IntN(3) {
		hosts = append(hosts, pick(r, hostnames...))
	}
	return hosts
}

// world is what random routes become, as the fleets of Envoy.
func (r random) world(t testing.TB) []*Fleet {
	t.Helper()
	fleets, _ := r.translated(t)
	return fleets
}

func (r random) translated(t testing.TB) (fleets []*Fleet, outcome translator.Outcome) {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	w := translator.NewWorld(translator.NewTables(translator.Settings{ControllerName: controller}, engine))
	class := &gwapiv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 1},
		Spec:       gwapiv1.GatewayClassSpec{ControllerName: controller},
	}
	service := &corev1.Service{ObjectMeta: meta("s"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	objects := []translator.Object{class, service, certificate(t), r.plain(), r.encrypted(), r.scoped()}
	for _, gateway := range []string{"plain", "encrypted", "scoped"} {
		objects = append(objects, r.clientPolicy(gateway))
	}
	for i := range 12 {
		objects = append(objects, r.httpRoute(i))
	}
	for i := range 3 {
		objects = append(objects, r.grpcRoute(i))
	}
	var events []translator.Event
	for _, o := range objects {
		events = append(events, translator.Event{Object: o})
	}
	if outcome, err = w.Apply(events); err != nil {
		t.Fatal(err)
	}
	for _, d := range outcome.Deltas {
		f, err := NewFleet(d, outcome.Requirements[d.Fleet])
		if err != nil {
			t.Fatal(err)
		}
		fleets = append(fleets, f)
	}
	return fleets, outcome
}

func gateway(name string, listeners ...gwapiv1.Listener) *gwapiv1.Gateway {
	for i := range listeners {
		listeners[i].Name = gwapiv1.SectionName(fmt.Sprintf("l%d", i))
	}
	return &gwapiv1.Gateway{ObjectMeta: meta(name), Spec: gwapiv1.GatewaySpec{GatewayClassName: "web", Listeners: listeners}}
}

// plain has a port with one listener for all hosts, and one with several listeners.
func (r random) plain() *gwapiv1.Gateway {
	listeners := []gwapiv1.Listener{{Port: 80, Protocol: gwapiv1.HTTPProtocolType}}
	for _, i := range r.Perm(len(hostnames))[:3] {
		listeners = append(listeners, gwapiv1.Listener{
			Port: 8080, Protocol: gwapiv1.HTTPProtocolType, Hostname: &hostnames[i],
		})
	}
	return gateway("plain", listeners...)
}

// encrypted has a port with several listeners, of which each has a filter chain.
func (r random) encrypted() *gwapiv1.Gateway {
	tls := &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "cert"}}}
	var listeners []gwapiv1.Listener
	for _, i := range r.Perm(len(hostnames))[:3] {
		listeners = append(listeners, gwapiv1.Listener{
			Port: 443, Protocol: gwapiv1.HTTPSProtocolType, Hostname: &hostnames[i], TLS: tls,
		})
	}
	if r.IntN(2) == 0 {
		listeners = append(listeners, gwapiv1.Listener{Port: 443, Protocol: gwapiv1.HTTPSProtocolType, TLS: tls})
	}
	return gateway("encrypted", listeners...)
}

// scoped has its hosts as scopes.
func (r random) scoped() *gwapiv1.Gateway {
	g := gateway("scoped", gwapiv1.Listener{Port: 81, Protocol: gwapiv1.HTTPProtocolType},
		gwapiv1.Listener{Port: 82, Protocol: gwapiv1.HTTPProtocolType, Hostname: &hostnames[3]})
	g.Annotations = map[string]string{translator.ScopedRoutesAnnotation: "true"}
	return g
}

func (r random) clientPolicy(gateway string) *v1alpha1.ClientTrafficPolicy {
	p := &v1alpha1.ClientTrafficPolicy{ObjectMeta: meta(gateway)}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Group, target.Kind, target.Name = gwapiv1.GroupName, "Gateway", gwapiv1.ObjectName(gateway)
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	p.Spec.Path = &v1alpha1.PathSettings{
		DisableMergeSlashes: maybe(r, r.IntN(2) == 0),
		EscapedSlashesAction: maybe(r, pick(r, v1alpha1.KeepUnchangedAction, v1alpha1.RejectRequestAction,
			v1alpha1.UnescapeAndForwardAction, v1alpha1.UnescapeAndRedirectAction)),
	}
	p.Spec.Headers = &v1alpha1.HeaderSettings{WithUnderscoresAction: maybe(r, pick(r, v1alpha1.WithUnderscoresActionAllow,
		v1alpha1.WithUnderscoresActionRejectRequest, v1alpha1.WithUnderscoresActionDropHeader))}
	if r.IntN(2) == 0 {
		p.Spec.Headers.EarlyRequestHeaders = r.changes()
	}
	return p
}

// changes changes headers that routes match, so that each has one value, and makes one of a command that none matches.
func (r random) changes() *v1alpha1.HTTPHeaderFilter {
	f := &v1alpha1.HTTPHeaderFilter{
		Set: []v1alpha1.HTTPHeader{{Name: pick(r, "x-a", "X-B", "x-c"), Value: pick(r, "1", "2", "100%%")}},
		Add: []v1alpha1.HTTPHeader{
			{Name: "x-new", Value: pick(r, "1", "2", "")}, {Name: "x-client", Value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
		},
		AddIfAbsent: []v1alpha1.HTTPHeader{{Name: pick(r, "X-A", "x-b", "x-new"), Value: pick(r, "1", "2", "")}},
	}
	if r.IntN(3) == 0 {
		f.Remove = []string{pick(r, "x-a", "Origin", "x-new")}
	}
	if r.IntN(3) == 0 {
		f.RemoveOnMatch = []v1alpha1.StringMatch{{
			Type:  new(pick(r, v1alpha1.StringMatchExact, v1alpha1.StringMatchPrefix, v1alpha1.StringMatchSuffix)),
			Value: pick(r, "x-a", "x-", "-b"),
		}}
	}
	return f
}

func (r random) parents() []gwapiv1.ParentReference {
	return []gwapiv1.ParentReference{{Name: "plain"}, {Name: "encrypted"}, {Name: "scoped"}}
}

func (r random) httpRoute(i int) *gwapiv1.HTTPRoute {
	route := &gwapiv1.HTTPRoute{ObjectMeta: meta(fmt.Sprintf("h%d", i))}
	route.CreationTimestamp = metav1.NewTime(time.Unix(int64(r.IntN(3)), 0))
	route.Spec.ParentRefs, route.Spec.Hostnames = r.parents(), r.routeHosts()
	for range 1 + r.IntN(3) {
		rule := gwapiv1.HTTPRouteRule{}
		for range r.IntN(4) {
			rule.Matches = append(rule.Matches, r.match())
		}
		for range r.IntN(3) {
			rule.BackendRefs = append(rule.BackendRefs, r.backend())
		}
		r.filter(&rule)
		route.Spec.Rules = append(route.Spec.Rules, rule)
	}
	return route
}

func (r random) backend() gwapiv1.HTTPBackendRef {
	ref := gwapiv1.HTTPBackendRef{}
	ref.Name, ref.Port, ref.Weight = pick[gwapiv1.ObjectName](r, "s", "s", "none"), new(int32(80)), new(int32(r.IntN(4)))
	if r.IntN(4) == 0 {
		ref.Filters = []gwapiv1.HTTPRouteFilter{{Type: gwapiv1.HTTPRouteFilterURLRewrite, URLRewrite: &gwapiv1.HTTPURLRewriteFilter{
			Path: &gwapiv1.HTTPPathModifier{Type: gwapiv1.FullPathHTTPPathModifier, ReplaceFullPath: new("/other")},
		}}}
	}
	return ref
}

func (r random) filter(rule *gwapiv1.HTTPRouteRule) {
	switch r.IntN(6) {
	case 0:
		rule.Filters = []gwapiv1.HTTPRouteFilter{{
			Type:            gwapiv1.HTTPRouteFilterRequestRedirect,
			RequestRedirect: &gwapiv1.HTTPRequestRedirectFilter{Scheme: new("https"), StatusCode: new(301)},
		}}
		rule.BackendRefs = nil
	case 1:
		rule.Filters = []gwapiv1.HTTPRouteFilter{{Type: gwapiv1.HTTPRouteFilterCORS, CORS: &gwapiv1.HTTPCORSFilter{
			AllowOrigins: []gwapiv1.CORSOrigin{"https://one.test"},
		}}}
	case 2:
		rule.SessionPersistence = &gwapiv1.SessionPersistence{Cookie: &gwapiv1.CookieConfig{Name: new(gwapiv1.CookieName("s"))}}
	}
}

// match has paths, some of which are written in another way than Envoy has them.
func (r random) match() gwapiv1.HTTPRouteMatch {
	path := &gwapiv1.HTTPPathMatch{
		Type: new(pick(r, gwapiv1.PathMatchExact, gwapiv1.PathMatchPathPrefix)),
		Value: new(pick(r, "/", "/a", "/a/", "/a/b", "/A", "/b", "/a/b/c", "/%61", "/a%3Ab", "/a%2fb", "/a;b", "/a/./b",
			"/a//b", "/%7Ea", "/a|b", "/a.b")),
	}
	if r.IntN(4) == 0 {
		path.Type = new(gwapiv1.PathMatchRegularExpression)
		path.Value = new(pick(r, "/a.*", "/a", "/[ab]/?", "(?i)/A", "/a/b|/b", "/(", "/.+%3a.*", "^/a$", "/é"))
	}
	m := gwapiv1.HTTPRouteMatch{Path: path, Method: maybe(r, pick(r, gwapiv1.HTTPMethodGet, gwapiv1.HTTPMethodPost,
		gwapiv1.HTTPMethodTrace, gwapiv1.HTTPMethodOptions))}
	for range r.IntN(3) * r.IntN(2) {
		m.Headers = append(m.Headers, gwapiv1.HTTPHeaderMatch{
			Type: new(pick(r, gwapiv1.HeaderMatchExact, gwapiv1.HeaderMatchRegularExpression)),
			Name: pick[gwapiv1.HTTPHeaderName](r, "x-a", "X-B", "cookie", "origin", "x-new"), Value: pick(r, "1", "2", "1,2", ".*", "[12]"),
		})
	}
	for range r.IntN(3) * r.IntN(2) {
		m.QueryParams = append(m.QueryParams, gwapiv1.HTTPQueryParamMatch{
			Type: new(pick(r, gwapiv1.QueryParamMatchExact, gwapiv1.QueryParamMatchRegularExpression)),
			Name: pick[gwapiv1.HTTPHeaderName](r, "p", "P", "q"), Value: pick(r, "1", "2", "1%20", ".*", "[12]"),
		})
	}
	return m
}

func (r random) grpcRoute(i int) *gwapiv1.GRPCRoute {
	route := &gwapiv1.GRPCRoute{ObjectMeta: meta(fmt.Sprintf("g%d", i))}
	route.Spec.ParentRefs, route.Spec.Hostnames = r.parents(), []gwapiv1.Hostname{"grpc.example.com"}
	for range 1 + r.IntN(2) {
		rule := gwapiv1.GRPCRouteRule{BackendRefs: []gwapiv1.GRPCBackendRef{{BackendRef: r.backend().BackendRef}}}
		for range r.IntN(3) {
			rule.Matches = append(rule.Matches, gwapiv1.GRPCRouteMatch{Method: &gwapiv1.GRPCMethodMatch{
				Type:    new(pick(r, gwapiv1.GRPCMethodMatchExact, gwapiv1.GRPCMethodMatchRegularExpression)),
				Service: maybe(r, pick(r, "a.b", "a")), Method: maybe(r, pick(r, "M", "N")),
			}})
		}
		route.Spec.Rules = append(route.Spec.Rules, rule)
	}
	return route
}

// certificate is for all hosts.
func certificate(t testing.TB) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*.example.com"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: meta("cert"), Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}}
}

// request is a random request for the words of the world, with the method, target and headers as they are sent.
func (r random) request() *Request {
	q := &Request{Method: pick(r, "GET", "GET", "POST", "HEAD", "OPTIONS", "TRACE", "PUT")}
	q.Port = pick[int32](r, 80, 80, 8080, 8080, 443, 443, 81, 82)
	q.TLS = q.Port == 443
	host := func() string {
		return pick(r, "a.example.com", "b.example.com", "x.a.example.com", "y.x.a.example.com", "c.example.com", "d.com",
			"example.com", "other.org", "A.Example.com", "grpc.example.com", "com", "192.0.2.1")
	}
	q.Authority = host()
	if q.TLS {
		if q.ServerName = pick(r, host(), q.Authority); q.ServerName == "192.0.2.1" || r.IntN(10) == 0 {
			q.ServerName = ""
		}
	}
	q.Authority += pick(r, "", "", "", "", ".", "..", ":80", ":8443", ".:80", ":", ":abc")
	q.Path = r.path() + pick(r, "", "", "?", "?p=1", "?p=2&p=1", "?q=1&P=2", "?p", "?p=1%20", "?%70=1", "?q=/../x", "?p=1&&q=2")
	for range r.IntN(4) {
		q.Headers = append(q.Headers, Header{
			pick(r, "x-a", "x-b", "cookie", "origin", "x_a", "access-control-request-method", "access-control-request-headers"),
			pick(r, "1", "2", "1,2", "s=1; t=2", "https://one.test", "GET", "POST", "x-a", ""),
		})
	}
	if r.IntN(8) == 0 {
		q.Headers = append(q.Headers, Header{"content-type", "application/grpc"})
	}
	return q
}

func (r random) path() string {
	path := ""
	for range 1 + r.IntN(4) {
		path += pick(r, "/", "/a", "/a", "/b", "/c", "/A", "/%61", "/%2e", "/..", "/.", "//", "%2F", "%2f", "%5c", `\`, "%3a",
			"%3A", ":b", ";b", "%7e", "~a", "%zz", "%", "|b", "%7Cb", "/a.b", "/a.b/M", "/a/M", "%00", "'", "+", "%2E%2e", "[]", "\"",
			"{", "^", "`", "<", "%25", "@", "!")
	}
	if path[0] != '/' {
		path = "/" + path
	}
	return path
}
