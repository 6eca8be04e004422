package withenvoy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

// requested is a backend that answers with the target of the request.
var requested = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_,
		_ = io.WriteString(w, r.RequestURI)
})

// pieces are the parts of the paths of TestPathsMeanWhatRequestsMean.
var pieces = []string{
	"/", "/", "/", "a", "B1", "~", "-_", ".", "..", "%2e", "%2E%2e", "%41", "%7a", "%7E", "%C3%A9", "%c3%bC", "%20", "%25",
	"%252e", "%3F", "%23", "%7b", "%ff", "%0a",
	"!$&'()*+,;=", ":@", "^{|}", `"<>`, "`", "[x]", `\`,
}

// writtenPaths are paths that people write, and random ones.
func writtenPaths() []string {
	paths := []string{
		"/a%7Eb", "/p%41q", "/caf%C3%A9", "/men%c3%bc", "/x%20y", "/a/%2e%2e/b", "/a/./b", "/a//b", "/a/..",
		"/a//../b", "/a/b/..//c", `/a\b`, "/1.0/(x)+$",
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		path := "/"
		for range 1 + random.IntN(7) {
			path += pieces[random.IntN(len(pieces))]
		}
		paths = append(paths, path)
	}
	return paths
}

// spellings are ways to write a path with the same meaning.
func spellings(path string) []string {
	escape := regexp.MustCompile(`%..`)
	letter := regexp.MustCompile(`[a-z]`)
	all := []string{
		path, escape.ReplaceAllStringFunc(path, strings.ToLower),
		escape.ReplaceAllStringFunc(path, strings.ToUpper), path + "?q=%41",
	}
	if !strings.Contains(path, "%") {
		all = append(all, letter.ReplaceAllStringFunc(path, func(l string) string { return fmt.Sprintf("%%%02X", l[0]) }))
	}
	return all
}

// TestPathsMeanWhatRequestsMean checks that a request for each path as it is written in a match, and for each other
// spelling of it, reaches the rule.
func TestPathsMeanWhatRequestsMean(t *testing.T) {
	c := startTranslated(t, false)
	paths := writtenPaths()
	var objects []translator.Object
	for i, path := range paths {
		exact, prefix := c.route(fmt.Sprintf("exact-%d.test", i), nil), c.route(fmt.Sprintf("prefix-%d.test", i), nil)
		exact.Spec.Rules = []gwapiv1.HTTPRouteRule{at(gwapiv1.PathMatchExact, path)}
		prefix.Spec.Rules = []gwapiv1.HTTPRouteRule{at(gwapiv1.PathMatchPathPrefix, path)}
		objects = append(objects, exact, prefix)
	}
	last := c.route("last.test", nil)
	c.apply(append(objects, last)...)
	c.serves(proxyPort, "last.test")
	for i, path := range paths {
		for _, spelling := range spellings(path) {
			for _, kind := range []string{"exact", "prefix"} {
				if got := verbatim(t, http.MethodGet, fmt.Sprintf("%s-%d.test", kind, i),
					spelling).StatusCode; got != http.StatusOK {
					t.Errorf("%s match of %q: %q gets %d", kind, path, spelling, got)
				}
			}
		}
		other, _, _ := strings.Cut(path, "?")
		if got := verbatim(t, http.MethodGet, fmt.Sprintf("exact-%d.test", i),
			strings.TrimRight(other, "/")+"/no-such").StatusCode; got != http.StatusNotFound {
			t.Errorf("exact match of %q: a longer path gets %d", path, got)
		}
	}
}

// TestUnmatchableExpressions tests a regular expression for each path as it is written, and one with a gap in it. An
// expression that is reported to match nothing gets no request with any spelling of the path; another one for a whole
// path gets it.
func TestUnmatchableExpressions(t *testing.T) {
	c := startTranslated(t, false)
	paths, random := writtenPaths(), rand.New(rand.NewPCG(5, 6))
	told := map[string]bool{}
	var objects []translator.Object
	for i, path := range paths {
		from := 1 + random.IntN(len(path)-1)
		to := from + random.IntN(len(path)-from)
		for kind, expression := range map[string]string{
			"whole": regexp.QuoteMeta(path),
			"gap":   regexp.QuoteMeta(path[:from]) + ".*" + regexp.QuoteMeta(path[to:]),
		} {
			route := c.route(fmt.Sprintf("%s-%d.test", kind, i), nil)
			route.Spec.Rules = []gwapiv1.HTTPRouteRule{at(gwapiv1.PathMatchRegularExpression, expression)}
			findings, err := c.world.Try(t.Context(), route)
			if err != nil {
				t.Fatal(err)
			}
			told[string(route.Spec.Hostnames[0])] = slices.ContainsFunc(findings, func(f translator.Finding) bool {
				return strings.Contains(f.Problem.Message, "matches no path, since")
			})
			objects = append(objects, route)
		}
	}
	c.apply(append(objects, c.route("last.test", nil))...)
	c.serves(proxyPort, "last.test")
	for i, path := range paths {
		for _, kind := range []string{"whole", "gap"} {
			host := fmt.Sprintf("%s-%d.test", kind, i)
			for _, spelling := range spellings(path) {
				if got := verbatim(t, http.MethodGet, host, spelling).StatusCode; told[host] && got == http.StatusOK {
					t.Errorf("expression %s of %q is said to match nothing, and %q gets %d", kind, path, spelling, got)
				}
			}
			if got := verbatim(t, http.MethodGet, host, path).StatusCode; kind == "whole" && !told[host] &&
				got != http.StatusOK {
				t.Errorf("nothing is said of expression %q, and it gets %d", path, got)
			}
		}
	}
}

// TestRewritesMeanWhatRequestsMean replaces prefixes that requests spell in different ways.
func TestRewritesMeanWhatRequestsMean(t *testing.T) {
	c := startTranslated(t, false)
	c.apply(c.behind("paths", requested)...)
	route := c.route("a.example.com", nil)
	to := func(path string) gwapiv1.HTTPRouteFilter {
		return gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterURLRewrite, URLRewrite: &gwapiv1.HTTPURLRewriteFilter{
			Path: &gwapiv1.HTTPPathModifier{Type: gwapiv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: &path},
		}}
	}
	route.Spec.Rules = []gwapiv1.HTTPRouteRule{
		at(gwapiv1.PathMatchPathPrefix, "/caf%C3%A9", to("/new")), at(gwapiv1.PathMatchPathPrefix, "/men%c3%bc", to("/")),
		at(gwapiv1.PathMatchPathPrefix, "/a%7Eb/", to("/x")),
	}
	for i := range route.Spec.Rules {
		route.Spec.Rules[i].BackendRefs[0].Name = "paths"
	}
	c.apply(route)
	c.reaches("/a~b")
	for target, want := range map[string]string{
		"/caf%C3%A9": "/new", "/caf%c3%a9/x?y=%41": "/new/x?y=%41", "/men%C3%BC/x": "/x", "/men%c3%bC": "/", "/a~b/c": "/x/c",
		"/a%7eb": "/x",
	} {
		if got := content(verbatim(t, http.MethodGet, "a.example.com", target)); got != want {
			t.Errorf("%s: the backend got %q, want %q", target, got, want)
		}
	}
}
