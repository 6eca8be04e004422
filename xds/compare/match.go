package compare

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// matchText says which requests a match is for. It is equal for equal matches.
func matchText(m *routev3.RouteMatch) string {
	parts := append([]string{pathText(m)}, conditions(m)...)
	if f := m.GetRuntimeFraction().GetDefaultValue(); f != nil {
		parts = append(parts, fmt.Sprintf("up to %d of %s", f.Numerator, strings.ToLower(f.Denominator.String())))
	}
	return strings.Join(parts, ", ")
}

func pathText(m *routev3.RouteMatch) string {
	switch p := m.PathSpecifier.(type) {
	case *routev3.RouteMatch_Prefix:
		return p.Prefix + "*"
	case *routev3.RouteMatch_PathSeparatedPrefix:
		return p.PathSeparatedPrefix + "/*"
	case *routev3.RouteMatch_Path:
		return p.Path
	case *routev3.RouteMatch_SafeRegex:
		return "~ " + p.SafeRegex.Regex
	}
	return fmt.Sprint(m.PathSpecifier)
}

// conditions are those of a match beside its path, as texts.
func conditions(m *routev3.RouteMatch) (all []string) {
	for _, h := range m.Headers {
		all = append(all, conditionText("header "+h.Name, h.GetStringMatch()))
	}
	for _, q := range m.QueryParameters {
		all = append(all, conditionText("query "+q.Name, q.GetStringMatch()))
	}
	for _, f := range m.FilterState {
		all = append(all, conditionText("state "+f.Key, f.GetStringMatch()))
	}
	for i, c := range all {
		all[i] = strings.Replace(c, "header :method = ", "method ", 1)
	}
	return all
}

func conditionText(what string, m *matcherv3.StringMatcher) string {
	switch p := m.GetMatchPattern().(type) {
	case nil:
		return what
	case *matcherv3.StringMatcher_Exact:
		return what + " = " + p.Exact
	case *matcherv3.StringMatcher_SafeRegex:
		return what + " ~ " + p.SafeRegex.Regex
	}
	return what + " " + m.String()
}

// shadow marks the entries of a virtual host of which an entry before takes all requests. Only what the paths and
// conditions show without doubt counts.
func shadow(entries []*entry) {
	earlier := map[string][]*entry{}
	for _, e := range entries {
		for _, path := range covering(e.route.Match) {
			for _, before := range earlier[path] {
				if e.shadow == nil && covers(before, e) {
					e.shadow = before
				}
			}
		}
		if e.route.Match.GetRuntimeFraction() == nil {
			path := pathText(e.route.Match)
			earlier[path] = append(earlier[path], e)
		}
	}
}

// covers reports whether the conditions of a match, its path apart, are among those of another.
func covers(a, b *entry) bool {
	theirs := map[string]bool{}
	for _, c := range conditions(b.route.Match) {
		theirs[c] = true
	}
	for _, c := range conditions(a.route.Match) {
		if !theirs[c] {
			return false
		}
	}
	return true
}

// covering are the paths of matches, as pathText has them, that have all paths of a match.
func covering(m *routev3.RouteMatch) []string {
	own := pathText(m)
	all := []string{own}
	if own != "/*" {
		all = append(all, "/*")
	}
	path := m.GetPathSeparatedPrefix() + m.GetPath()
	for path != "" && path != "/" {
		if at := path + "/*"; at != own {
			all = append(all, at)
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
	}
	return all
}
