package feature

import (
	"fmt"
	"iter"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// Rule is a rule of an HTTPRoute, or of another kind of route in the same terms, with what it refers to that says more
// about its requests.
type Rule struct {
	gwapiv1.HTTPRouteRule
	// Extensions are the HTTPRouteFilters that exist of those that the rule refers to, in the order of the references.
	Extensions []ExtensionFilter
	// GRPC reports whether the requests are those of gRPC.
	GRPC bool
}

// FilterAt is where a rule has a filter.
type FilterAt struct {
	// Field is the path of the filter, relative to the rule, such as backendRefs[1].filters[2].
	Field string
	// Backend is the index of the backendRef that has the filter, or -1 if the rule itself has it.
	Backend int
}

// ExtensionFilter is an HTTPRouteFilter that a rule refers to, and where it does so.
type ExtensionFilter struct {
	FilterAt
	Filter *v1alpha1.HTTPRouteFilter
	// Broken reports whether the HTTPRouteFilter has a problem. Then the rule fails.
	Broken bool
	// Have answers the needs of the HTTPRouteFilter.
	Have Have
}

// Equal reports whether both mean the same.
func (e ExtensionFilter) Equal(o ExtensionFilter) bool {
	return e.FilterAt == o.FilterAt && e.Filter == o.Filter && e.Broken == o.Broken && e.Have.Equal(o.Have)
}

// Condition is a condition of requests beside the match of a rule.
type Condition struct {
	Cookies []*routev3.CookieMatcher
	// Exact is how many of the cookies have exact values. A match with more of them comes first.
	Exact int
	// Cost is what it costs a route, in bytes.
	Cost int64
}

// Filters yields the filters of a rule that have one of the types, with their paths relative to the rule, such as
// filters[2].
func Filters(rule *gwapiv1.HTTPRouteRule, types ...gwapiv1.HTTPRouteFilterType) iter.Seq2[string,
	*gwapiv1.HTTPRouteFilter] {
	return filters("filters[%d]", rule.Filters, types)
}

// BackendFilters yields the filters of a rule's backendRefs that have one of the types, with their paths relative to
// the rule, such as backendRefs[1].filters[2].
func BackendFilters(
	rule *gwapiv1.HTTPRouteRule, types ...gwapiv1.HTTPRouteFilterType,
) iter.Seq2[string, *gwapiv1.HTTPRouteFilter] {
	return func(yield func(string, *gwapiv1.HTTPRouteFilter) bool) {
		for at, f := range AllFilters(rule, types...) {
			if at.Backend >= 0 && !yield(at.Field, f) {
				return
			}
		}
	}
}

// AllFilters yields the filters of a rule and of its backendRefs that have one of the types, and where they are.
func AllFilters(rule *gwapiv1.HTTPRouteRule, types ...gwapiv1.HTTPRouteFilterType) iter.Seq2[FilterAt, *gwapiv1.HTTPRouteFilter] {
	return func(yield func(FilterAt, *gwapiv1.HTTPRouteFilter) bool) {
		for field, f := range Filters(rule, types...) {
			if !yield(FilterAt{field, -1}, f) {
				return
			}
		}
		for b := range rule.BackendRefs {
			for field, f := range filters(fmt.Sprintf("backendRefs[%d].filters[%%d]", b), rule.BackendRefs[b].Filters, types) {
				if !yield(FilterAt{field, b}, f) {
					return
				}
			}
		}
	}
}

func filters(
	path string, all []gwapiv1.HTTPRouteFilter, types []gwapiv1.HTTPRouteFilterType,
) iter.Seq2[string, *gwapiv1.HTTPRouteFilter] {
	return func(yield func(string, *gwapiv1.HTTPRouteFilter) bool) {
		for i := range all {
			if slices.Contains(types, all[i].Type) && !yield(fmt.Sprintf(path, i), &all[i]) {
				return
			}
		}
	}
}

// FilterOf returns the index of the first filter of a rule that has the type, or -1 if there is none.
func FilterOf(rule *gwapiv1.HTTPRouteRule, t gwapiv1.HTTPRouteFilterType) int {
	return slices.IndexFunc(rule.Filters, func(f gwapiv1.HTTPRouteFilter) bool { return f.Type == t })
}
