package explain

import (
	"fmt"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// million is the denominator of shares.
const million = 1_000_000

// seen is a request as Envoy has it when it chooses a route.
type seen struct {
	method, authority, path string
	headers                 []Header
	// uncertain are the headers that Envoy makes of what is not known here, such as the address of the client.
	uncertain map[string]bool
	// state is the filter state.
	state map[string]string
}

// pathOnly is the path without the query.
func (s *seen) pathOnly() string {
	path, _, _ := strings.Cut(s.path, "?")
	return path
}

// header returns the values of a header.
func (s *seen) header(name string) (values []string) {
	switch name {
	case ":method":
		return []string{s.method}
	case ":authority", "host":
		return []string{s.authority}
	case ":path":
		return []string{s.path}
	}
	for _, h := range s.headers {
		if h.Name == name {
			values = append(values, h.Value)
		}
	}
	return values
}

// query returns the first value of a parameter. Envoy does not decode it.
func (s *seen) query(name string) (value string, found bool) {
	_, query, _ := strings.Cut(s.path, "?")
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, _ := strings.Cut(pair, "="); key == name && pair != "" {
			return value, true
		}
	}
	return "", false
}

// meets says why a request does not match, in words that fit behind "the request does not match, because ". It is empty
// if the request matches. The path is compared first, so that other reasons are about the path that was asked for.
func (s *seen) meets(where string, m *routev3.RouteMatch) (why string, err error) {
	if err := only(where, m, knownMatch...); err != nil {
		return "", err
	}
	if why, err := s.meetsPath(where, m); why != "" || err != nil {
		return why, err
	}
	for _, h := range m.Headers {
		if why, err := s.meetsHeader(where, h); why != "" || err != nil {
			return why, err
		}
	}
	for _, q := range m.QueryParameters {
		if why, err := s.meetsQuery(where, q); why != "" || err != nil {
			return why, err
		}
	}
	for _, c := range m.Cookies {
		if why, err := s.meetsCookie(where, c); why != "" || err != nil {
			return why, err
		}
	}
	return s.meetsState(where, m.FilterState)
}

func (s *seen) meetsState(where string, states []*matcherv3.FilterStateMatcher) (why string, err error) {
	for _, f := range states {
		value, found := s.state[f.Key]
		ok, err := text(where, f.GetStringMatch(), value)
		if err != nil {
			return "", err
		}
		if !found || !ok {
			return "it has not passed the filters of the listener", nil
		}
	}
	return "", nil
}

func (s *seen) meetsPath(where string, m *routev3.RouteMatch) (why string, err error) {
	path, fold := s.pathOnly(), func(text string) string { return text }
	if sensitive := m.GetCaseSensitive(); sensitive != nil && !sensitive.Value {
		fold = strings.ToLower
	}
	switch p := m.PathSpecifier.(type) {
	case *routev3.RouteMatch_Prefix:
		if !strings.HasPrefix(fold(path), fold(p.Prefix)) {
			return fmt.Sprintf("path %q does not begin with %q", path, p.Prefix), nil
		}
	case *routev3.RouteMatch_Path:
		if fold(path) != fold(p.Path) {
			return fmt.Sprintf("path %q is not %q", path, p.Path), nil
		}
	case *routev3.RouteMatch_PathSeparatedPrefix:
		rest, found := strings.CutPrefix(fold(path), fold(p.PathSeparatedPrefix))
		if !found || rest != "" && rest[0] != '/' {
			return fmt.Sprintf("path %q is not %q or below it", path, p.PathSeparatedPrefix), nil
		}
	case *routev3.RouteMatch_SafeRegex:
		ok, err := expression(where, p.SafeRegex, path)
		if err != nil {
			return "", err
		}
		if !ok {
			return fmt.Sprintf("path %q does not match %s", path, p.SafeRegex.Regex), nil
		}
	case *routev3.RouteMatch_ConnectMatcher_:
		return "path " + path + " is none of CONNECT, which has no path", nil // No Request has this method.
	default:
		return "", &Unknown{Where: where, What: fmt.Sprintf("a match of type %T", m.PathSpecifier)}
	}
	return "", nil
}

func (s *seen) meetsHeader(where string, h *routev3.HeaderMatcher) (why string, err error) {
	if err := only(where, h, "name", "string_match", "present_match"); err != nil {
		return "", err
	}
	name := strings.ToLower(h.Name)
	if isOwn(name) {
		return "", &Unknown{Where: where, What: fmt.Sprintf("a match on header %s, whose value Envoy decides", name)}
	}
	if s.uncertain[name] {
		return "", &Unknown{Where: where, What: fmt.Sprintf("a match on header %s, which a ClientTrafficPolicy makes of a command", name)}
	}
	what := "header " + name
	if name == ":method" {
		what = "method"
	}
	values := s.header(name)
	if len(values) < 2 {
		return judge(where, what, strings.Join(values, ""), len(values) > 0, h)
	}
	// Envoy compares each value of most headers, and the values of some together.
	separator := ","
	if name == "cookie" {
		separator = "; "
	}
	together, err := judge(where, what, strings.Join(values, separator), true, h)
	for _, value := range values {
		if err != nil {
			break
		}
		if why, err = judge(where, what, value, true, h); why == "" {
			break
		}
	}
	if err == nil && (why == "") != (together == "") {
		err = &Unknown{Where: where, What: "a match on " + what + ", which the request has several times"}
	}
	return together, err
}

func (s *seen) meetsQuery(where string, q *routev3.QueryParameterMatcher) (why string, err error) {
	if err := only(where, q, "name", "string_match", "present_match"); err != nil {
		return "", err
	}
	value, found := s.query(q.Name)
	return judge(where, "query parameter "+q.Name, value, found, q)
}

// condition is a condition on a header or a query parameter.
type condition interface {
	GetStringMatch() *matcherv3.StringMatcher
	GetPresentMatch() bool
}

func judge(where, what, value string, found bool, c condition) (why string, err error) {
	wanted := c.GetStringMatch()
	switch {
	case wanted == nil && found != c.GetPresentMatch() && found:
		return what + " is there", nil
	case wanted == nil && found != c.GetPresentMatch():
		return what + " is missing", nil
	case wanted == nil:
		return "", nil
	}
	ok, err := text(where, wanted, value)
	switch {
	case err != nil:
		return "", err
	case !found:
		return what + " is missing", nil
	case !ok:
		return fmt.Sprintf("%s is %q and %s", what, value, unlike(wanted)), nil
	}
	return "", nil
}

// unlike says what a text does not do.
func unlike(m *matcherv3.StringMatcher) string {
	switch p := m.MatchPattern.(type) {
	case *matcherv3.StringMatcher_Exact:
		return fmt.Sprintf("not %q", p.Exact)
	case *matcherv3.StringMatcher_SafeRegex:
		return "does not match " + p.SafeRegex.Regex
	}
	return "does not match"
}

// text reports whether a text matches.
func text(where string, m *matcherv3.StringMatcher, value string) (bool, error) {
	if err := only(where, m, "exact", "prefix", "suffix", "contains", "safe_regex", "ignore_case"); err != nil {
		return false, err
	}
	fold := func(s string) string { return s }
	if m.IgnoreCase {
		fold = strings.ToLower
	}
	switch p := m.MatchPattern.(type) {
	case *matcherv3.StringMatcher_Exact:
		return fold(value) == fold(p.Exact), nil
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(value), fold(p.Prefix)), nil
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(value), fold(p.Suffix)), nil
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(fold(value), fold(p.Contains)), nil
	case *matcherv3.StringMatcher_SafeRegex:
		return expression(where, p.SafeRegex, value)
	}
	return false, &Unknown{Where: where, What: fmt.Sprintf("a comparison of type %T", m.MatchPattern)}
}

// expression reports whether a whole text matches a regular expression. Go's have the syntax of RE2, which Envoy uses.
func expression(where string, m *matcherv3.RegexMatcher, value string) (bool, error) {
	if err := only(where, m, "regex"); err != nil {
		return false, err
	}
	compiled, err := regexp.Compile(`\A(?:` + m.Regex + `)\z`)
	if err != nil {
		return false, &Unknown{Where: where, What: fmt.Sprintf("the regular expression %q (%v)", m.Regex, err)}
	}
	return compiled.MatchString(value), nil
}

// fraction is the part of the requests, in millionths, for which a match holds.
func fraction(where string, m *routev3.RouteMatch) (uint32, error) {
	f := m.GetRuntimeFraction()
	if f == nil {
		return million, nil
	}
	if err := only(where, f, "default_value"); err != nil {
		return 0, err
	}
	scale := map[typev3.FractionalPercent_DenominatorType]uint32{
		typev3.FractionalPercent_HUNDRED: million / 100, typev3.FractionalPercent_TEN_THOUSAND: million / 10_000,
		typev3.FractionalPercent_MILLION: 1,
	}
	return f.DefaultValue.GetNumerator() * scale[f.DefaultValue.GetDenominator()], nil
}
