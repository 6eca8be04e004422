package paths

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func TestUnmatchable(t *testing.T) {
	for expression, want := range map[string]string{
		"/": "", "/a~b": "", "/a.*b": "", `/a\.b`: "", "//": "", "/(?:%7E)?": "", "/a%7Eb|/c": "", "^/a$": "", ".*": "",
		"": "slash", "/%[0-9a-fA-F]{2}": "", "/caf%c3%A9": "", "/[^/]+/%20x": "",
		"/a/{1,2}b": "", "/%25zz": "", "/%257E": "", "/...": "", `/\.\./`: "dot segments", "/a/./": "",
		"/a/[.]/b": "dot segments", `.*/\.`: "dot segments", `/\.\.`: "dot segments",
		"/a%7Eb": "%7E to ~", "/%41": "unescaped before", "(?i)/A%7eb": "%7E to ~", ".*%2[dD]": "unescaped before",
		"/(?:a%7E|%41b)": "unescaped before",
		"/a%2Fb":         "escaped slash", "/.*%5c": "escaped backslash", "/%00": "escaped NUL", "/a%": "hexadecimal",
		"/%%41": "access log", "/a%4": "hexadecimal",
		"//a": "slashes are merged", "/a//b": "slashes are merged", "/.*//": "slashes are merged",
		"/a/{2}": "slashes are merged", "///": "slashes are merged",
		`/a\?b=.*`: "queryParams", "/a[?]": "queryParams", "/a#b": "escape, such as %20", "/a b": "escape, such as %20",
		"/é": "escape, such as %20", `/\{id\}`: "escape, such as %20", `/a\\b`: "escape, such as %20",
		"a": "begins with a slash", "a/.*": "begins with a slash", "v1/.*|v2/.*": "begins with a slash",
		"[^/].*": "begins with a slash", "(?:)": "begins with a slash",
		`a\?`: "access log", "/%7E" + strings.Repeat("a", maxExplained): "access log", "/[^\\x00-\\x{10FFFF}]": "access log",
		"/(?:%7E|//)x": "slashes are merged", "(": "",
	} {
		if got := Unmatchable(expression); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want %q", expression, got, want)
		}
	}
}

// expressionPieces are what the expressions of TestUnmatchableNeverMatches are made of.
var expressionPieces = []string{
	"/", "/", "/", "a", "~", `\.`, ".", `\.\.`, "%7E", "%41", "%c3%A9", "%2F", "%", "4", "1", ".*", "[^/]+", `[.]`, `\\`,
	"(?:/|a)", "(?:%|b)", "(?:%4|%2)*", "[0-9A-F]{2}", "(?i:%7e|~)", "/{0,2}", "(?:a|%7E)+", `\?`, "é", " ", "|",
}

// requestPieces are what the paths of requests are made of there.
var requestPieces = []string{
	"/", "/", "/", "a", "b", "~", ".", "..", "%7e", "%41", "%c3%A9", "%C3%a9", "%20", "%25",
	"41", "7E", `\`, "{",
}

// asRequested are the forms in which Envoy may have a path that a client writes when it looks for a route.
func asRequested(written string) []string {
	if !strings.HasPrefix(written, "/") || !possible(written) {
		return nil
	}
	normal := Normal(written)
	return []string{normal, regexp.MustCompile(`%..`).ReplaceAllStringFunc(normal, strings.ToLower)}
}

// TestUnmatchableNeverMatches tries expressions that are said to match no path with paths.
func TestUnmatchableNeverMatches(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	some := func(pieces []string) string {
		text := ""
		for range 1 + random.IntN(7) {
			text += pieces[random.IntN(len(pieces))]
		}
		return text
	}
	var paths []string
	for range 3000 {
		paths = append(paths, asRequested("/"+some(requestPieces))...)
	}
	told := 0
	for range 2000 {
		expression := some(expressionPieces)
		re, err := regexp.Compile("^(?:" + expression + ")$")
		if err != nil || Unmatchable(expression) == "" {
			continue
		}
		told++
		for _, path := range paths {
			if re.MatchString(path) {
				t.Fatalf("%q matches %q", expression, path)
			}
		}
	}
	if told < 200 {
		t.Errorf("only %d expressions are said to match nothing", told)
	}
}

// FuzzUnmatchable checks that a path is matched by no expression that is said to match none, and that an expression of
// nothing but the path is said to just if the path is not a normal one.
func FuzzUnmatchable(f *testing.F) {
	for _, seed := range [][2]string{
		{"/a%7Eb", "/a~b"},
		{".*/", "//"},
		{`/(?:\.|%2[eE])+`, "/%2e%2e"},
		{"/caf%(?:c3|C3)%A9", "/caf%C3%a9"},
		{"(?i)/Ka+", "/kA"},
		{`/\bx\B`, "/x"},
		{"(?:/a{0,3}){2,}", "/a/aa"},
		{"/a?b", "/a?b"},
	} {
		f.Add(seed[0], seed[1])
	}
	escape := regexp.MustCompile(`%..`)
	f.Fuzz(func(t *testing.T, expression, written string) {
		if len(expression) > 1024 {
			return
		}
		re, err := regexp.Compile("^(?:" + expression + ")$")
		if _, alone := regexp.Compile(expression); err != nil || alone != nil {
			return
		}
		never := Unmatchable(expression) != ""
		for _, path := range asRequested(written) {
			if never && re.MatchString(path) {
				t.Errorf("%q matches %q", expression, path)
			}
			if why := Unmatchable(regexp.QuoteMeta(path)); why != "" {
				t.Errorf("%q is said to match nothing: %s", path, why)
			}
			normal := escape.ReplaceAllStringFunc(written, strings.ToUpper) == Normal(written)
			if said := Unmatchable(regexp.QuoteMeta(written)) != ""; said == normal {
				t.Errorf("%q: said to match nothing %t, is normal %t", written, said, normal)
			}
		}
	})
}

// What it takes to look at the longest paths that the API server takes, and at a usual one.
func BenchmarkUnmatchable(b *testing.B) {
	for name, expression := range map[string]string{
		"usual": "/api/v[0-9]+/users/[^/]+", "stars": "%7E" + strings.Repeat("a*", 510), "text": "%7E" +
			strings.Repeat("a", 1021), "classes": "%7E" + strings.Repeat("[^a]", 255),
		"nested": "%7E" + strings.Repeat("(?:", 200) + strings.Repeat("a)*", 200), "repeats": "%7E" +
			strings.Repeat("a{9}", 255),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Unmatchable(expression)
			}
		})
	}
}
