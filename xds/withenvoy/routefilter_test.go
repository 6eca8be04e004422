package withenvoy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
	"gatehouse/translator"
)

// told answers with what a backend sees of a request.
func told(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s host=%s forwarded=%s path=%s authorization=%s key=%s", name, r.Host, r.Header.Get("X-Forwarded-Host"),
			r.URL.Path, strings.Join(r.Header.Values("Authorization"), "|"), strings.Join(r.Header.Values("X-Api-Key"), "|"))
	})
}

func (c *translated) routeFilter(name, spec string) *v1alpha1.HTTPRouteFilter {
	c.t.Helper()
	f := &v1alpha1.HTTPRouteFilter{ObjectMeta: c.meta(name)}
	if err := yaml.UnmarshalStrict([]byte("spec: "+spec), f); err != nil {
		c.t.Fatal(err)
	}
	return f
}

func (c *translated) credential(name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: c.meta(name), Data: map[string][]byte{"credential": []byte(value)}}
}

func referring(names ...string) (filters []gwapiv1.HTTPRouteFilter) {
	for _, name := range names {
		filters = append(filters, gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterExtensionRef, ExtensionRef: &gwapiv1.LocalObjectReference{
			Group: v1alpha1.GroupName, Kind: v1alpha1.KindHTTPRouteFilter, Name: gwapiv1.ObjectName(name),
		}})
	}
	return filters
}

// told sends a request to filters.test and returns the status and the body.
func (c *translated) told(path string, headers ...string) string {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", proxyPort, path), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Host = "filters.test"
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := (&http.Client{Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		c.t.Fatalf("%s: %v", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatalf("%s: %v", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Sprint(response.StatusCode)
	}
	return string(body)
}

// startFilters serves filters.test with rules that refer to HTTPRouteFilters.
func startFilters(t *testing.T) *translated {
	c := startTranslated(t, false)
	c.apply(append(c.behind("a", told("a")), c.behind("b", told("b"))...)...)
	c.apply(
		c.credential("key", "Bearer one"), c.credential("other", "two%REQ(x)%"),
		c.routeFilter("path", `{urlRewrite: {path: {type: ReplaceRegexMatch, replaceRegexMatch: {pattern: "^/path/([a-z]+)/(.*)$", substitution: '/\2/of/\1'}}}}`),
		c.routeFilter("host-of-path", `{urlRewrite: {hostname: {type: PathRegex, pathRegex: {pattern: "^/tenant/([a-z]+).*", substitution: '\1.internal'}}}}`),
		c.routeFilter("host-of-header", `{urlRewrite: {appendXForwardedHost: false, hostname: {type: Header, header: x-host}}}`),
		c.routeFilter("key", `{credentialInjection: {credential: {valueRef: {name: key}}}}`),
		c.routeFilter("other", `{credentialInjection: {overwrite: true, header: x-api-key, credential: {valueRef: {name: other}}}}`),
		c.routeFilter("testers", `{matches: [{cookies: [{name: stage, value: test}, {name: user, type: RegularExpression, value: "[a-m].*"}]}, {cookies: [{name: beta, value: "1"}]}]}`),
		c.routeFilter("broken", `{matches: [{cookies: [{name: broken, type: RegularExpression, value: "["}]}]}`),
	)
	route := c.route("filters.test", nil)
	route.Spec.Rules = nil
	rule := func(path string, filters []gwapiv1.HTTPRouteFilter, backends ...gwapiv1.HTTPBackendRef) {
		r := at(gwapiv1.PathMatchPathPrefix, path, filters...)
		r.BackendRefs = backends
		route.Spec.Rules = append(route.Spec.Rules, r)
	}
	rule("/path", referring("path"), weighing("a", 1))
	rule("/tenant", referring("host-of-path"), weighing("a", 1))
	rule("/header", referring("host-of-header", "key"), weighing("a", 1))
	rule("/key", referring("key"), weighing("a", 1))
	rule("/shared", referring("key"), weighing("a", 1, referring("other")...))
	rule("/", nil, weighing("a", 1))
	rule("/", referring("testers"), weighing("b", 1))
	rule("/", referring("broken"), weighing("b", 1))
	c.apply(route, c.route("last.test", nil))
	c.serves(proxyPort, "last.test")
	c.quiet()
	return c
}

// TestHTTPRouteFilters: hosts, paths, credentials and cookies are handled as the HTTPRouteFilters of the rules say.
func TestHTTPRouteFilters(t *testing.T) {
	c := startFilters(t)
	for _, step := range []struct {
		path    string
		headers []string
		want    string
	}{
		{"/path/shop/items/1?q=1", nil, "a host=filters.test forwarded= path=/items/1/of/shop authorization= key="},
		{"/path/other", nil, "a host=filters.test forwarded= path=/path/other authorization= key="},
		{"/tenant/blue", nil, "a host=blue.internal forwarded=filters.test path=/tenant/blue authorization= key="},
		{"/header", []string{"X-Host", "red.internal"}, "a host=red.internal forwarded= path=/header authorization=Bearer one key="},
		{"/header", nil, "a host=filters.test forwarded= path=/header authorization=Bearer one key="},
		{"/key", []string{"Authorization", "mine"}, "a host=filters.test forwarded= path=/key authorization=mine key="},
		{"/shared", []string{"X-Api-Key", "mine"}, "a host=filters.test forwarded= path=/shared authorization=Bearer one key=two%REQ(x)%"},
		{"/x", nil, "a host=filters.test forwarded= path=/x authorization= key="},
		{"/x", []string{"Cookie", "stage=test"}, "a host=filters.test forwarded= path=/x authorization= key="},
		{"/x", []string{"Cookie", "stage=test; user=zoe"}, "a host=filters.test forwarded= path=/x authorization= key="},
		{"/x", []string{"Cookie", "stage=test; user=anna"}, "b host=filters.test forwarded= path=/x authorization= key="},
		{"/x", []string{"Cookie", "stage=test", "Cookie", "user=anna"}, "b host=filters.test forwarded= path=/x authorization= key="},
		{"/x", []string{"Cookie", "a=b; beta=1"}, "b host=filters.test forwarded= path=/x authorization= key="},
		{"/x", []string{"Cookie", `beta="1"`}, "b host=filters.test forwarded= path=/x authorization= key="},
		{"/x", []string{"Cookie", "beta=2; beta=1"}, "a host=filters.test forwarded= path=/x authorization= key="},
		{"/x", []string{"Cookie", "broken=1"}, "500"},
	} {
		if got := c.told(step.path, step.headers...); got != step.want {
			t.Errorf("%s %q: got %q, want %q", step.path, step.headers, got, step.want)
		}
	}
}

// TestCredentialsRotate: under load, a credential comes, changes and goes, and no request fails or has none of the
// credentials that are valid at its time. A credential that is gone closes its rules.
func TestCredentialsRotate(t *testing.T) {
	c := startFilters(t)
	var (
		group sync.WaitGroup
		done  atomic.Bool
		sent  atomic.Int32
		may   sync.Map
	)
	may.Store("Bearer one", true)
	for range 2 {
		group.Go(func() {
			for !done.Load() {
				got := c.told("/key")
				_, credential, _ := strings.Cut(got, "authorization=")
				if _, ok := may.Load(strings.TrimSuffix(credential, " key=")); !ok {
					t.Errorf("request %d: got %q", sent.Load(), got)
				}
				sent.Add(1)
			}
		})
	}
	for i := range 5 {
		value := fmt.Sprintf("Bearer %d", i)
		may.Store(value, true)
		c.apply(c.credential("key", value))
		c.becomes(value)
	}
	may.Store("mine", true)
	c.apply(c.credential("third", "mine"), c.routeFilter("key", `{credentialInjection: {credential: {valueRef: {name: third}}}}`))
	c.becomes("mine")
	may.Store("", true)
	c.apply(c.routeFilter("key", `{}`))
	c.becomes("")
	c.apply(c.routeFilter("key", `{credentialInjection: {credential: {valueRef: {name: third}}}}`))
	c.becomes("mine")
	done.Store(true)
	group.Wait()
	if sent.Load() < 50 {
		t.Errorf("%d requests were sent", sent.Load())
	}
	t.Logf("%d requests", sent.Load())
	c.delete(translator.Object(c.credential("third", "mine")))
	c.eventually("500", func() string { return c.told("/key") })
}

// becomes waits until requests have a credential.
func (c *translated) becomes(credential string) {
	c.t.Helper()
	want := "a host=filters.test forwarded= path=/key authorization=" + credential + " key="
	c.eventually(want, func() string { return c.told("/key") })
}

func (c *translated) eventually(want string, ask func() string) {
	c.t.Helper()
	got := ""
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got = ask(); got == want {
			return
		}
	}
	c.t.Fatalf("got %q, want %q", got, want)
}
