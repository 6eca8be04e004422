package policies

import (
	"fmt"
	"iter"
	"slices"
	"sync"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Rules of HTTPRoutes, and of GRPCRoutes in the terms of HTTPRoutes, have features as policies do: their filters,
// session persistence, retry and timeouts. All fields are relative to the rule.

// featuresIn yields the features of a rule, in order. A feature about filters is left out if the rule has none of its
// types.
func featuresIn(r *gwapiv1.HTTPRouteRule) iter.Seq[bound] {
	return func(yield func(bound) bool) {
		for f := range featuresOf(ruleKind) {
			if (len(f.types) == 0 || hasFilter(r, f.types)) && !yield(f) {
				return
			}
		}
	}
}

func hasFilter(r *gwapiv1.HTTPRouteRule, types []gwapiv1.HTTPRouteFilterType) bool {
	has := func(f gwapiv1.HTTPRouteFilter) bool { return slices.Contains(types, f.Type) }
	return slices.ContainsFunc(r.Filters, has) || slices.ContainsFunc(r.BackendRefs, func(b gwapiv1.HTTPBackendRef) bool {
		return slices.ContainsFunc(b.Filters, has)
	})
}

// CheckRule finds what keeps a rule from being carried out as written. Leaving a filter out is not an option (Gateway
// API, HTTPRouteFilter): such a rule answers 500.
func CheckRule(r *gwapiv1.HTTPRouteRule) []verdict.Problem {
	problems := unservedTypes(r)
	for f := range featuresIn(r) {
		problems = append(problems, f.check(r)...)
	}
	for i := range problems {
		if problems[i].Reason == string(gwapiv1.PolicyReasonInvalid) {
			problems[i].Reason = string(gwapiv1.RouteReasonUnsupportedValue)
		}
	}
	return problems
}

// unservedTypes finds filters of types that no feature carries out.
func unservedTypes(r *gwapiv1.HTTPRouteRule) []verdict.Problem {
	ofRules, ofBackends := filterTypes()
	problems := unserved("filters", r.Filters, ofRules)
	for b := range r.BackendRefs {
		problems = append(problems, unserved(fmt.Sprintf("backendRefs[%d].filters", b), r.BackendRefs[b].Filters,
			ofBackends)...)
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
var filterTypes = sync.OnceValues(func() (ofRules, ofBackends []gwapiv1.HTTPRouteFilterType) {
	for f := range featuresOf(ruleKind) {
		ofRules = append(ofRules, f.types...)
		if f.share != nil {
			ofBackends = append(ofBackends, f.types...)
		}
	}
	return ofRules, ofBackends
})

// NeedsOfRule lists what a rule refers to besides its backends.
func NeedsOfRule(r *gwapiv1.HTTPRouteRule) []feature.Need {
	var needs []feature.Need
	for f := range featuresIn(r) {
		needs = append(needs, f.needs(r)...)
	}
	return needs
}

// CostOfRule estimates what the features of a rule cost an Envoy.
func CostOfRule(r *gwapiv1.HTTPRouteRule) (cost feature.Cost) {
	for f := range featuresIn(r) {
		cost = cost.Add(f.cost(r))
	}
	return cost
}

// TraitsOfRule returns what is known of a rule. One with a filter that no feature carries out answers all requests.
func TraitsOfRule(r *gwapiv1.HTTPRouteRule) (traits feature.Traits) {
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
func RouteRule(r *gwapiv1.HTTPRouteRule, have feature.Have, route *feature.Route) {
	for f := range featuresIn(r) {
		f.route(r, have, route)
	}
}

// SettleRule completes a route of a rule, or one that answers 500 in its place.
func SettleRule(r *gwapiv1.HTTPRouteRule, route *feature.Route) {
	for f := range featuresIn(r) {
		f.settle(r, route)
	}
}

// Share applies the filters of a backendRef to the share of its backend.
func Share(filters []gwapiv1.HTTPRouteFilter, share *feature.Share) {
	for f := range featuresOf(ruleKind) {
		if f.share != nil {
			f.share(filters, share)
		}
	}
}
