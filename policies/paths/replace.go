package paths

import (
	"cmp"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// CheckReplacement finds a replacement of a prefix where a match of the rule has no prefix to replace. Field is the
// path of the modifier, which may be nil.
func CheckReplacement(rule *gwapiv1.HTTPRouteRule, path *gwapiv1.HTTPPathModifier, field string) []verdict.Problem {
	if path == nil || path.Type != gwapiv1.PrefixMatchHTTPPathModifier {
		return nil
	}
	for m := range rule.Matches {
		p := rule.Matches[m].Path
		if p != nil && cmp.Or(ptr.Deref(p.Type, ""), gwapiv1.PathMatchPathPrefix) != gwapiv1.PathMatchPathPrefix {
			return []verdict.Problem{feature.Incompatible(field+".type",
				"%s needs matches of type PathPrefix, but match %d is of type %s: use ReplaceFullPath or change the match",
				path.Type, m, *p.Type)}
		}
	}
	return nil
}

// ReplacementCost is what a new path costs a route, in bytes. What removing a prefix costs depends on the matches, and
// is not in it.
func ReplacementCost(path *gwapiv1.HTTPPathModifier) int64 {
	if path == nil {
		return 0
	}
	return feature.PerText * int64(len(ptr.Deref(path.ReplaceFullPath, ""))+len(ptr.Deref(path.ReplacePrefixMatch, "")))
}

// ReplacePrefix returns how the prefix of a match is replaced: by a text, or by a regular expression, which is nil if
// the text says it all.
//
// Where a prefix is replaced by the root, or the root by a prefix, the slash in between must be neither doubled nor
// lost, which only a regular expression can say. The same is true where escapes may be written in two cases.
func ReplacePrefix(match *gwapiv1.HTTPRouteMatch, path *gwapiv1.HTTPPathModifier) (string,
	*matcherv3.RegexMatchAndSubstitute,
) {
	prefix := "/"
	if match != nil && match.Path != nil {
		prefix = Value(match.Path)
	}
	// The replacement has no trailing slash, since the matched prefix has none either.
	replacement := cmp.Or(strings.TrimRight(ptr.Deref(path.ReplacePrefixMatch, ""), "/"), "/")
	pattern, escapes := Pattern(strings.TrimRight(prefix, "/"))
	substitute := func(pattern, by string) (string, *matcherv3.RegexMatchAndSubstitute) {
		return "", &matcherv3.RegexMatchAndSubstitute{
			Pattern:      &matcherv3.RegexMatcher{Regex: pattern},
			Substitution: Substitution(by),
		}
	}
	switch {
	case prefix == "/" && replacement != "/":
		return substitute("^/", replacement+"/")
	case replacement == "/":
		return substitute("^"+pattern+`/*`, "/")
	case escapes:
		return substitute("^"+pattern, replacement)
	}
	return replacement, nil
}

// Substitution returns a text as RE2 has to read it where it replaces a match: a backslash would refer to a group.
func Substitution(text string) string { return strings.ReplaceAll(text, `\`, `\\`) }

// PrefixCost is what the expressions cost that a match needs to have its prefix replaced, in bytes (ReplacePrefix).
func PrefixCost(path string) int64 {
	pattern, _ := Pattern(path)
	return feature.Expressions("^" + pattern + "/*")
}

// ReplacesPrefix reports whether the prefix of a match is replaced. The modifier may be nil.
func ReplacesPrefix(path *gwapiv1.HTTPPathModifier) bool {
	return path != nil && path.Type == gwapiv1.PrefixMatchHTTPPathModifier
}
