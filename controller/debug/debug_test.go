package debug

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/rules"
	"gatehouse/translator"
	"gatehouse/xds"
)

const key = "-----BEGIN PRIVATE KEY-----"

// newServer serves the pages of a small world: a Gateway with a listener that names a Secret, and a route to a Service
// that is not there.
func newServer(t *testing.T) *httptest.Server {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	world := translator.NewWorld(translator.NewTables(translator.Settings{ControllerName: "example.com/gatehouse"},
		engine))
	https := gwapiv1.Listener{
		Name: "https", Protocol: gwapiv1.HTTPSProtocolType, Port: 443,
		TLS: &gwapiv1.ListenerTLSConfig{
			CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "cert"}},
		},
	}
	route := &gwapiv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}
	route.Spec.ParentRefs = []gwapiv1.ParentReference{{Name: "web"}}
	ref := gwapiv1.HTTPBackendRef{}
	ref.Name = "nowhere"
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{{BackendRefs: []gwapiv1.HTTPBackendRef{ref}}}
	events := []translator.Event{
		{Object: &gwapiv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: "c"},
			Spec:       gwapiv1.GatewayClassSpec{ControllerName: "example.com/gatehouse"},
		}},
		{Object: &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: gwapiv1.GatewaySpec{
			GatewayClassName: "c", Listeners: []gwapiv1.Listener{
				{Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80},
				https,
			},
		}}},
		{Object: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cert"},
			Data:       map[string][]byte{"tls.key": []byte(key), "tls.crt": []byte(key)},
		}},
		{Object: route},
	}
	if _, err := world.Apply(events); err != nil {
		t.Fatal(err)
	}
	proxies := func() []xds.FleetState {
		return []xds.FleetState{{Fleet: "shop/web", Proxies: []xds.ProxyState{{
			Node: "pod-1", Cold: []string{"service/shop/cart/80"},
			Types: []xds.TypeState{{
				Type:     "type.googleapis.com/envoy.config.cluster.v3.Cluster",
				Versions: map[string]string{"a": "1", "b": ""},
			}},
		}}}}
	}
	own := func() translator.Certificate {
		return translator.Certificate{
			Namespace: "gatehouse-system", Name: "gatehouse", Issuer: "CN=gatehouse", NotAfter: time.Unix(0, 0), Valid: true,
		}
	}
	server := httptest.NewServer((&Server{World: world, Proxies: proxies, Own: own}).Handler())
	t.Cleanup(server.Close)
	return server
}

func fetch(t *testing.T, server *httptest.Server, path, accept string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestPages(t *testing.T) {
	server := newServer(t)
	for path, want := range map[string][]string{
		"/":                                    {"/tables", "batches"},
		"/tables":                              {"virtual hosts", "COMPUTED"},
		"/tables/parents":                      {"shop/cart|0"},
		"/tables/claims/HTTPRoute/shop/cart|0": {"routes[HTTPRoute/shop/cart]", "gateways[shop/web]"},
		"/tables/rules/HTTPRoute/shop/cart":    {"backends[service/shop/nowhere] (missing)"},
		"/tables/route statuses/HTTPRoute/shop/cart":      {`"reason": "BackendNotFound"`, "create it or correct the name"},
		"/tables/route configurations/shop/web|TCP/10080": {`"name":`, "virtualHosts", "directResponse"},
		"/batches": {"4", "route statuses 1"},
		"/certificates": {
			"NOT AFTER", "shop/cert", "Gateway shop/web, listener https",
			`no      `, `Secret shop/cert is of type "Opaque"`, "gatehouse-system/gatehouse", "CN=gatehouse", "1970-01-01T00:00:00Z",
		},
		"/proxies": {"pod-1", "Cluster", "routes wait for cluster service/shop/cart/80"},
	} {
		status, body := fetch(t, server, (&url.URL{Path: path}).EscapedPath(), "*/*")
		if status != http.StatusOK {
			t.Errorf("%s answers %d: %s", path, status, body)
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%s lacks %q:\n%s", path, w, body)
			}
		}
	}
	for _, path := range []string{"/tables/nothing", "/tables/parents/nobody", "/nowhere"} {
		if status, body := fetch(t, server, path, "*/*"); status != http.StatusNotFound {
			t.Errorf("%s answers %d: %s", path, status, body)
		}
	}
}

// TestEveryLinkLeadsSomewhere walks all pages as a browser shows them, and no page shows a Secret.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	server := newServer(t)
	links := regexp.MustCompile(`href="([^"]*)"`)
	seen, next := map[string]bool{}, []string{"/"}
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		if seen[path] || strings.HasPrefix(path, "/debug/pprof") {
			continue
		}
		seen[path] = true
		status, body := fetch(t, server, path, "text/html")
		if status != http.StatusOK {
			t.Errorf("%s answers %d: %s", path, status, body)
		}
		if strings.Contains(body, "PRIVATE") {
			t.Errorf("%s shows a Secret", path)
		}
		for _, l := range links.FindAllStringSubmatch(body, -1) {
			next = append(next, strings.ReplaceAll(l[1], "&amp;", "&"))
		}
	}
	if len(seen) < 60 {
		t.Errorf("only %d pages were found", len(seen))
	}
}

// TestOnlyLoopbackNamesAreAnswered: a page of somewhere else cannot read these by a name that it has made to lead here.
func TestOnlyLoopbackNamesAreAnswered(t *testing.T) {
	server := newServer(t)
	for host, want := range map[string]int{
		"localhost:19000": http.StatusOK, "LOCALHOST": http.StatusOK, "127.0.0.1:19000": http.StatusOK,
		"127.1.2.3": http.StatusOK, "[::1]:19000": http.StatusOK,
		"[::1]": http.StatusOK, "evil.example.com:19000": http.StatusForbidden,
		"localhost.evil.example.com": http.StatusForbidden,
		"10.0.0.1:19000":             http.StatusForbidden, "127.0.0.1.example.com": http.StatusForbidden,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/tables", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if response.Body.Close(); response.StatusCode != want {
			t.Errorf("host %s: %d, want %d", host, response.StatusCode, want)
		}
	}
}
