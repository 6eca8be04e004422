package translator

import (
	"regexp"
	"strings"
	"testing"
)

func TestLiteralPrefix(t *testing.T) {
	for expression, want := range map[string]string{
		"": "/", "/": "/", "/a(b": "/a", "^/a/b[": "/a/b", "/ab*(": "/a", "/ab+(": "/ab", "/é?(": "/", "/a{2}(": "/",
		"(?i)/a(": "/",
		"/a|/b(":  "/", ".*(": "/", `/a\.b(`: "/a", "a(": "/", "?": "/", "/v1.0(": "/v1", "^^/a(": "/",
	} {
		if got := literalPrefix(expression); got != want {
			t.Errorf("%q: got %q, want %q", expression, got, want)
		}
	}
}

// FuzzLiteralPrefix checks with expressions that can be read: a path that one matches begins with the prefix.
func FuzzLiteralPrefix(f *testing.F) {
	for _, seed := range [][2]string{
		{"/a*b", "/b"},
		{"^/a+", "/aa"},
		{"/x{0,1}", "/"},
		{"/a|/b", "/b"},
		{"(?i)/A", "/a"},
		{"/é*", "/"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, expression, path string) {
		re, err := regexp.Compile(`^(?:` + expression + `)$`)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		if _, err := regexp.Compile(expression); err == nil && re.MatchString(path) &&
			!strings.HasPrefix(path, literalPrefix(expression)) {
			t.Errorf("%q matches %q, which does not begin with %q", expression, path, literalPrefix(expression))
		}
	})
}
