package feature

import (
	"fmt"
	"iter"
	"slices"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

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
		for b := range rule.BackendRefs {
			for field, f := range filters(fmt.Sprintf("backendRefs[%d].filters[%%d]", b), rule.BackendRefs[b].Filters, types) {
				if !yield(field, f) {
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
