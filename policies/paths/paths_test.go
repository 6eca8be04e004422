package paths

import (
	"regexp"
	"strings"
	"testing"
)

func TestNormal(t *testing.T) {
	for written, want := range map[string]string{
		"/": "/", "/a": "/a", "/a/": "/a/", "/a%7Eb": "/a~b", "/p%41q": "/pAq", "/caf%c3%a9": "/caf%C3%A9",
		"/x%20y": "/x%20y", "/%252e": "/%252e",
		"/a/%2e%2E/b": "/b", "/a/./b": "/a/b", "/a/..": "/", "/a/.": "/a/", "/..": "/", "/a%2e": "/a.", "/a/..b": "/a/..b",
		"/a/%2e": "/a/",
		"//a":    "/a", "/a//b//": "/a/b/", "/a//../b": "/a/b", "/a/b/..//c": "/a/c", `/a\b`: "/a/b",
		"/a^{b}":     "/a%5E%7Bb%7D",
		"/a;b=1/c,d": "/a;b=1/c,d",
		"//":         "//", "/a/..//": "//", "a/../b": "a/../b",
	} {
		if got := Normal(written); got != want {
			t.Errorf("%s: got %s, want %s", written, got, want)
		}
	}
}

func TestImpossible(t *testing.T) {
	for value, fine := range map[string]bool{
		"": true, "/": true, "/a%7Eb": true, "/x%20y": true, "/a/%2e%2e/b": true, "/a:b@c": true,
		"a": false, "/a%2Fb": false, "/a%2fb": false, "/a%5Cb": false, "/a%00": false, "/a?b=1": false, "/a#b": false,
		"/a b": false, "/é": false,
		"/a\nb": false, "/a%": false, "/a%zz": false, "/%%412": false,
	} {
		_, why := Impossible(value)
		if (why == "") != fine {
			t.Errorf("%q: got %q, want fine %t", value, why, fine)
		}
		if strings.ContainsAny(why, "\n\r") {
			t.Errorf("%q: more than one line: %q", value, why)
		}
	}
}

func possible(path string) bool {
	_, why := Impossible(path)
	return why == ""
}

// FuzzNormal checks that a path that is not refused is brought into a form that does not change any more and that its
// pattern matches, with escapes in any case. That Envoy does the same to requests is checked with Envoy itself, by the
// tests of package xds/withenvoy.
func FuzzNormal(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/%2e%2e/b", "/caf%c3%a9", "//a/./b//", `/\..\x`, "/%252e", "/a+b(c)[d]*$",
		"/%5E{%7b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, written string) {
		if !strings.HasPrefix(written, "/") || !possible(written) {
			return
		}
		normal := Normal(written)
		if again := Normal(normal); again != normal {
			t.Errorf("%q: %q becomes %q", written, normal, again)
		}
		if !strings.HasPrefix(normal, "/") || normal != "//" && strings.Contains(normal, "//") ||
			strings.Contains(normal+"/", "/../") || strings.Contains(normal+"/", "/./") {
			t.Errorf("%q: %q is no normal path", written, normal)
		}
		expression, escapes := Pattern(normal)
		pattern, err := regexp.Compile("^(?:" + expression + ")$")
		if err != nil {
			t.Fatalf("%q: %v", written, err)
		}
		lower := regexp.MustCompile(`%..`).ReplaceAllStringFunc(normal, strings.ToLower)
		if !pattern.MatchString(normal) || !pattern.MatchString(lower) || escapes != (lower != normal) {
			t.Errorf("%q: %s, needed %t, for %q and %q", written, expression, escapes, normal, lower)
		}
	})
}

// TestCanonical has paths of requests, with what Envoy makes of them. A test with a real Envoy has many more
// (xds/explain).
func TestCanonical(t *testing.T) {
	for path, want := range map[string]string{
		"/a/b": "/a/b", "/a/./b/../c": "/a/c", "/%61%7e": "/a~", "/%3a%3A": "/%3a%3A", `/a\b`: "/a/b", "//a//": "//a//",
		"/%2e%2E/a": "/a", "/..": "/", "/a|b": "/a%7Cb", "/%zz%": "/%zz%",
		"/a/..;b/c": "/c", "/a/.;b%00": "/a/", "/a/%2e%2E;": "/a/..;", "/a/...;b": "/a/...;b",
	} {
		if got, ok := Canonical(path); got != want || !ok {
			t.Errorf("%s: got %s, %t, want %s", path, got, ok, want)
		}
	}
	if _, ok := Canonical("/a%00"); ok {
		t.Error("an escaped NUL is taken")
	}
}
