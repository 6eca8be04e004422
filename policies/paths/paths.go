// Package paths brings paths that users write into the form in which Envoy looks for a route.
//
// The connection manager normalizes the path of a request (normalize_path, merge_slashes and UNESCAPE_AND_REDIRECT):
// unreserved characters are not escaped, other characters that need it are, and there are no dot segments, empty
// segments and backslashes. Only the case of escapes stays as the client wrote it, and makes no difference either (RFC
// 3986, section 6.2.2). A path in a match has to say the same.
package paths

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	upperHex   = "0123456789ABCDEF"
	unreserved = "-._~"
	// escaped are the visible characters that Envoy escapes where a client did not.
	escaped = "\"<>^`{|}"
)

// Normal returns a path as Envoy has it when it looks for a route, with escapes in upper case. A path that Envoy would
// refuse stays as it is.
func Normal(path string) string {
	if plain(path) {
		return path
	}
	return MergeSlashes(resolved(withoutParameters(path), strings.ToUpper))
}

// Canonical returns the path of a request as Envoy normalizes it (normalize_path): with escapes as the client wrote
// them, and with empty segments. It reports whether Envoy takes the path.
func Canonical(path string) (canonical string, ok bool) {
	path = withoutParameters(path)
	for i := range len(path) {
		if decoded, escape := escapeAt(path, i); escape && decoded == 0 {
			return path, false
		}
	}
	if plain(path) {
		return path, true
	}
	return resolved(path, func(escape string) string { return escape }), true
}

// withoutParameters removes the parameters of dot segments (RFC 3986, section 3.3). Envoy does not look for those of
// dots that are escaped.
func withoutParameters(path string) string {
	if !strings.Contains(path, ".;") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if name, _, found := strings.Cut(segment, ";"); found && (name == "." || name == "..") {
			segments[i] = name
		}
	}
	return strings.Join(segments, "/")
}

// resolved returns a path without dot segments, backslashes and escapes that are not needed. Those that a client wrote
// are spelled by a function. A path without a slash at its beginning stays as it is.
func resolved(path string, spell func(escape string) string) string {
	rest, absolute := strings.CutPrefix(normalEscapes(path, spell), "/")
	if !absolute {
		return path
	}
	var kept []string
	segments := strings.Split(rest, "/")
	for i, segment := range segments {
		switch segment {
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		case ".":
		default:
			kept = append(kept, segment)
			continue
		}
		if i == len(segments)-1 {
			kept = append(kept, "") // The path leads to a directory.
		}
	}
	return "/" + strings.Join(kept, "/")
}

// plain reports whether a path is normal at first sight, as nearly all are: it has letters, digits and unreserved
// characters only, and no empty segment and none that begins with a dot.
func plain(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c == '/' || c == '.':
			if i > 0 && path[i-1] == '/' {
				return false
			}
		case !isUnreserved(c):
			return false
		}
	}
	return true
}

// MergeSlashes leaves out empty segments as Envoy does, which makes two slashes of a path that has nothing else.
func MergeSlashes(path string) string {
	if !strings.HasPrefix(path, "/") || !strings.Contains(path, "//") {
		return path
	}
	merged := "/" + strings.Join(strings.FieldsFunc(path, func(r rune) bool { return r == '/' }), "/")
	if strings.HasSuffix(path, "/") {
		merged += "/"
	}
	return merged
}

// normalEscapes leaves only those escapes that are needed.
func normalEscapes(path string, spell func(escape string) string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c, escape := path[i], false
		if decoded, ok := escapeAt(path, i); ok && !isUnreserved(decoded) {
			b.WriteString(spell(path[i : i+3]))
			i += 2
			continue
		} else if ok {
			c = decoded
			i += 2
		} else if c == '\\' {
			c = '/'
		} else {
			escape = strings.IndexByte(escaped, c) >= 0
		}
		if escape {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escapeAt decodes the percent escape that begins at i, if one does.
func escapeAt(path string, i int) (byte, bool) {
	if path[i] != '%' || i+2 >= len(path) {
		return 0, false
	}
	high, low := strings.IndexByte(upperHex, upper(path[i+1])), strings.IndexByte(upperHex, upper(path[i+2]))
	return byte(high<<4 | low), high >= 0 && low >= 0
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

func isUnreserved(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= upper(c) && upper(c) <= 'Z' || strings.IndexByte(unreserved, c) >= 0
}

// caseOfEscapes is a digit of an escape that may be written in two cases.
var caseOfEscapes = regexp.MustCompile(`%(?:[0-9][A-F]|[A-F][0-9A-F])`)

// Value returns the path of a match as Envoy has it in requests. A prefix other than the root has no trailing slash.
func Value(match *gwapiv1.HTTPPathMatch) string {
	value := ptr.Deref(match.Value, "")
	kind := cmp.Or(ptr.Deref(match.Type, ""), gwapiv1.PathMatchPathPrefix)
	if kind != gwapiv1.PathMatchRegularExpression {
		value = Normal(value)
	}
	if kind == gwapiv1.PathMatchPathPrefix {
		value = strings.TrimRight(value, "/")
	}
	return cmp.Or(value, "/")
}

// Pattern returns a regular expression that matches a normal path, with its escapes in any case. It is needed only if
// there are escapes; otherwise the path itself matches.
func Pattern(path string) (pattern string, needed bool) {
	if !strings.Contains(path, "%") {
		return regexp.QuoteMeta(path), false
	}
	return caseOfEscapes.ReplaceAllStringFunc(regexp.QuoteMeta(path), func(escape string) string {
		needed = true
		var b strings.Builder
		for i := range len(escape) {
			if c := escape[i]; 'A' <= c && c <= 'F' {
				fmt.Fprintf(&b, "[%c%c]", c, c-'A'+'a')
			} else {
				b.WriteByte(c)
			}
		}
		return b.String()
	}), needed
}

// unmatched are the escapes that no request has when Envoy looks for its route.
var unmatched = map[byte]string{
	'/':  "requests with an escaped slash are redirected to the same path with a plain one: write / instead",
	'\\': "requests with an escaped backslash are redirected to the same path with a slash: write / instead",
	0:    "requests with an escaped NUL are refused: remove it",
}

// Impossible returns where a path of type Exact or PathPrefix stops being one that a request can have, and why; why is
// empty if a request can have it. It fits behind "matches no path, since ".
func Impossible(path string) (at int, why string) {
	if path != "" && path[0] != '/' {
		return 0, fmt.Sprintf("each begins with a slash: write %q", "/"+path)
	}
	for i, c := range []byte(path) {
		decoded, ok := escapeAt(path, i)
		switch why := unmatched[decoded]; {
		case ok && why != "":
			return i, why
		case !ok && c == '%':
			return i, "none has a % without two hexadecimal digits after it: write %25 instead"
		case !inPath(c):
			return i, fmt.Sprintf("none has %q in it: write %%%02X instead, or remove it", path[i:i+1], c)
		}
	}
	return 0, ""
}

// inPath reports whether a request's path may have the character unescaped. Envoy is more generous than RFC 3986,
// section 3.3.
func inPath(c byte) bool { return c > ' ' && c < 0x7f && c != '?' && c != '#' }
