package feature

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzOrigin checks that an origin without a wildcard matches only itself, and that an origin with a wildcard becomes
// an expression that matches some origin, and none of another domain.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{
		"*", "https://*", "https://*.example.com", "http://localhost:8080", "HTTPS://A.B",
		"https://a/", "a.b", "https://a:99999", "https://*.com:1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		parsed, err := ParseOrigin(origin)
		if err != nil || origin == anyOrigin {
			return
		}
		m := parsed.Header()
		if !strings.Contains(origin, anyOrigin) {
			if m.GetExact() != strings.ToLower(origin) {
				t.Errorf("%q matches %q", origin, m.GetExact())
			}
			return
		}
		expression, err := regexp.Compile("^(?:" + m.GetSafeRegex().GetRegex() + ")$")
		if err != nil {
			t.Fatalf("%q became an expression that does not compile: %v", origin, err)
		}
		if some := strings.Replace(strings.ToLower(origin), anyOrigin, "x", 1); !expression.MatchString(some) {
			t.Errorf("%q does not match %q", origin, some)
		}
		if expression.MatchString("https://evil.test/") || expression.MatchString("x"+strings.ToLower(origin)+"/") {
			t.Errorf("%q matches too much: %s", origin, expression)
		}
	})
}
