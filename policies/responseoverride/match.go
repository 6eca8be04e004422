package responseoverride

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// leastCode and lastCode are the ends of what can be a status code: a number of three digits.
const leastCode, lastCode = 100, 999

// sources are whose responses are replaced: the text that Envoy compares with, empty for all.
var sources = map[v1alpha1.ResponseOverrideSource]string{
	v1alpha1.ResponseOverrideSourceAll: "", v1alpha1.ResponseOverrideSourceLocal: "true",
	v1alpha1.ResponseOverrideSourceBackend: "false",
}

// predicate is the condition of an override.
func predicate(o *v1alpha1.ResponseOverride) *feature.Predicate {
	var all []*feature.Predicate
	if pattern := codes(o.Match.StatusCodes); pattern != "" {
		all = append(all, feature.Is("status", &matcherv3.HttpResponseStatusCodeMatchInput{}, feature.Like(pattern)))
	}
	for i := range o.Match.ResponseHeaders {
		h := &o.Match.ResponseHeaders[i]
		all = append(all, feature.Is("header", &matcherv3.HttpResponseHeaderMatchInput{HeaderName: h.Name}, text(&h.Value)))
	}
	if local := sources[ptr.Deref(o.Source, v1alpha1.ResponseOverrideSourceAll)]; local != "" {
		all = append(all, feature.Is("local", &matcherv3.HttpResponseLocalReplyMatchInput{}, feature.Same(local)))
	}
	if mayBeBodiless(o) {
		all = append(all, feature.Not(feature.Is("status", &matcherv3.HttpResponseStatusCodeMatchInput{}, feature.Like("204|304"))))
	}
	if len(all) == 1 {
		return all[0]
	}
	return feature.All(all)
}

// mayBeBodiless reports whether an override would give a body to responses whose status code allows none
// (feature.Bodiless).
func mayBeBodiless(o *v1alpha1.ResponseOverride) bool {
	if o.Response == nil || o.Response.Body == nil || o.Response.StatusCode != nil {
		return false
	}
	return len(o.Match.StatusCodes) == 0 || slices.ContainsFunc(o.Match.StatusCodes, func(c v1alpha1.StatusCodeMatch) bool {
		return c.Range != nil && c.Range.Start <= http.StatusNotModified && c.Range.End >= http.StatusNoContent
	})
}

// text matches the value of a header.
func text(m *v1alpha1.StringMatch) *xdsmatcherv3.StringMatcher {
	switch ptr.Deref(m.Type, v1alpha1.StringMatchExact) {
	case v1alpha1.StringMatchPrefix:
		return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Prefix{Prefix: m.Value}}
	case v1alpha1.StringMatchSuffix:
		return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Suffix{Suffix: m.Value}}
	case v1alpha1.StringMatchRegularExpression:
		return feature.Like(m.Value)
	}
	return feature.Same(m.Value)
}

// codes is the regular expression of status codes, empty for none. Envoy has no matcher for numbers here.
func codes(matches []v1alpha1.StatusCodeMatch) string {
	var parts []string
	for _, m := range matches {
		if r := m.Range; r != nil && ptr.Deref(m.Type, "") == v1alpha1.StatusCodeValueTypeRange {
			parts = append(parts, inRow(r.Start, r.End)...)
		} else if m.Value != nil {
			parts = append(parts, strconv.Itoa(*m.Value))
		}
	}
	return strings.Join(parts, "|")
}

// inRow are regular expressions of the numbers of three digits from start to end, one for each ten.
func inRow(start, end int) (parts []string) {
	for ten := start / 10; ten <= end/10; ten++ {
		parts = append(parts, fmt.Sprintf("%d[%d-%d]", ten, max(start-ten*10, 0), min(end-ten*10, 9)))
	}
	return parts
}

// expressions are the regular expressions of a match.
func expressions(m *v1alpha1.CustomResponseMatch) (all []string) {
	if pattern := codes(m.StatusCodes); pattern != "" {
		all = append(all, pattern)
	}
	for _, h := range m.ResponseHeaders {
		if ptr.Deref(h.Value.Type, "") == v1alpha1.StringMatchRegularExpression {
			all = append(all, h.Value.Value)
		}
	}
	return all
}
