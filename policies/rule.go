package policies

import (
	"fmt"
	"iter"
	"slices"
	"sync"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Rules of HTTPRoutes, and of GRPCRoutes in the terms of HTTPRoutes, have features as policies do: their filters,
// session persistence, retry and timeouts. All fields are relative to the rule.

// featuresIn yields the features of a rule and of the HTTPRouteFilters in it, in order. A feature about filters is left out
// if the rule has none of its types.
func featuresIn(r *feature.Rule) iter.Seq[bound] {
	return func(yield func(bound) bool) {
		for _, f := range features {
			if ofRules(f) && (len(f.types) == 0 || hasFilter(r, f.types)) && !yield(f) {
				return
			}
		}
	}
}

// ownFeatures yields the features of a rule without those of the HTTPRouteFilters in it, which are judged for themselves.
func ownFeatures(r *feature.Rule) iter.Seq[bound] {
	return func(yield func(bound) bool) {
		for f := range featuresIn(r) {
			if f.kind == ruleKind && !yield(f) {
				return
			}
		}
	}
}

func ofRules(f bound) bool { return f.kind == ruleKind || f.kind == v1alpha1.KindHTTPRouteFilter }

func hasFilter(r *feature.Rule, types []gwapiv1.HTTPRouteFilterType) bool {
	has := func(f gwapiv1.HTTPRouteFilter) bool { return slices.Contains(types, f.Type) }
	return slices.ContainsFunc(r.Filters, has) || slices.ContainsFunc(r.BackendRefs, func(b gwapiv1.HTTPBackendRef) bool {
		return slices.ContainsFunc(b.Filters, has)
	})
}

// CheckRule finds what keeps a rule from being carried out as written. Leaving a filter out is not an option (Gateway
// API, HTTPRouteFilter): such a rule answers 500.
func CheckRule(r *feature.Rule) []verdict.Problem {
	problems := unservedTypes(r)
	for f := range ownFeatures(r) {
		problems = append(problems, f.check(r)...)
	}
	problems = append(problems, checkExtensions(r)...)
	problems = append(problems, checkAnswers(r)...)
	for i := range problems {
		if problems[i].Reason == string(gwapiv1.PolicyReasonInvalid) {
			problems[i].Reason = string(gwapiv1.RouteReasonUnsupportedValue)
		}
	}
	return problems
}

// unservedTypes finds filters of types that no feature carries out.
func unservedTypes(r *feature.Rule) []verdict.Problem {
	inRules, inBackends := filterTypes()
	problems := unserved("filters", r.Filters, inRules)
	for b := range r.BackendRefs {
		problems = append(problems, unserved(fmt.Sprintf("backendRefs[%d].filters", b), r.BackendRefs[b].Filters,
			inBackends)...)
	}
	return problems
}

func unserved(path string, filters []gwapiv1.HTTPRouteFilter, served []gwapiv1.HTTPRouteFilterType) []verdict.Problem {
	var problems []verdict.Problem
	for i := range filters {
		if !slices.Contains(served, filters[i].Type) {
			p := feature.Invalid(fmt.Sprintf("%s[%d].type", path, i), "filter %q is not served, so the rule answers 500: use %s",
				filters[i].Type, verdict.Or(served))
			p.Weight = verdict.Unresolved
			problems = append(problems, p)
		}
	}
	return problems
}

// filterTypes returns the types of filters that are served, those of rules and those of backendRefs.
var filterTypes = sync.OnceValues(func() (inRules, inBackends []gwapiv1.HTTPRouteFilterType) {
	add := func(to []gwapiv1.HTTPRouteFilterType, types []gwapiv1.HTTPRouteFilterType) []gwapiv1.HTTPRouteFilterType {
		return append(to, slices.DeleteFunc(slices.Clone(types), func(t gwapiv1.HTTPRouteFilterType) bool {
			return slices.Contains(to, t)
		})...)
	}
	for _, f := range features {
		if !ofRules(f) {
			continue
		}
		inRules = add(inRules, f.types)
		if f.share != nil {
			inBackends = add(inBackends, f.types)
		}
	}
	return inRules, inBackends
})

// NeedsOfRule lists what a rule refers to besides its backends.
func NeedsOfRule(r *feature.Rule) []feature.Need {
	var needs []feature.Need
	for f := range ownFeatures(r) {
		needs = append(needs, f.needs(r)...)
	}
	return needs
}

// CostOfRule estimates what the features of a rule cost an Envoy.
func CostOfRule(r *feature.Rule) (cost feature.Cost) {
	for f := range featuresIn(r) {
		cost = cost.Add(f.cost(r))
	}
	return cost
}

// TraitsOfRule returns what is known of a rule. One with a filter that no feature carries out answers all requests.
func TraitsOfRule(r *feature.Rule) (traits feature.Traits) {
	served, _ := filterTypes()
	traits.Answers = slices.ContainsFunc(r.Filters, func(f gwapiv1.HTTPRouteFilter) bool {
		return !slices.Contains(served,
			f.Type)
	})
	for f := range featuresIn(r) {
		traits = traits.Or(f.traits(r))
	}
	return traits
}

// RouteRule applies a rule to a route of it.
func RouteRule(r *feature.Rule, have feature.Have, route *feature.Route) {
	for f := range featuresIn(r) {
		f.route(r, have, route)
	}
}

// SettleRule completes a route of a rule, or one that answers 500 in its place.
func SettleRule(r *feature.Rule, route *feature.Route) {
	for f := range featuresIn(r) {
		f.settle(r, route)
	}
}

// Share applies the filters of a backendRef to the share of its backend.
func Share(r *feature.Rule, backend int, share *feature.Share) {
	for f := range featuresIn(r) {
		if f.share != nil {
			f.share(r, backend, share)
		}
	}
}

// ConditionsOfRule returns the conditions of which requests of a rule must fulfill one besides its matches. It is nil if
// there are none.
func ConditionsOfRule(r *feature.Rule) []feature.Condition {
	for f := range featuresIn(r) {
		if f.conditions == nil {
			continue
		}
		if conditions := f.conditions(r); len(conditions) > 0 {
			return conditions
		}
	}
	return nil
}
