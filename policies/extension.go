package policies

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// An HTTPRouteFilter says more about the requests of the rules that refer to it. Its features do for each of these rules
// what features of rules do. What is wrong with it, and what it needs, is found once, for itself.

// extension binds features of HTTPRouteFilters, which find their spec in the rules that refer to one. Check and Needs get
// the HTTPRouteFilter itself.
func extension(f feature.Feature[v1alpha1.HTTPRouteFilterSpec]) bound {
	b := binder(v1alpha1.KindHTTPRouteFilter, SpecField,
		func(p *v1alpha1.HTTPRouteFilter) *v1alpha1.HTTPRouteFilterSpec { return &p.Spec })(f)
	b.types = []gwapiv1.HTTPRouteFilterType{gwapiv1.HTTPRouteFilterExtensionRef}
	ofFilter := b
	b.route = func(r any, _ feature.Have, route *feature.Route) {
		for e := range extensions(r, -1) {
			if !e.Broken {
				ofFilter.route(e.Filter, e.Have, route)
			}
		}
	}
	b.settle = func(r any, route *feature.Route) {
		for e := range extensions(r, -1) {
			ofFilter.settle(e.Filter, route)
		}
	}
	b.effective = func(r any, _ feature.Have, effective *feature.Effective) {
		for e := range extensions(r, -1) {
			ofFilter.effective(e.Filter, e.Have, effective)
		}
	}
	b.share = func(r any, backend int, share *feature.Share) {
		for e := range extensions(r, backend) {
			if f.Share != nil && !e.Broken {
				f.Share(&e.Filter.Spec, share)
			}
		}
	}
	b.conditions = func(r any) (all []feature.Condition) {
		for e := range extensions(r, -1) {
			if f.Conditions != nil {
				all = append(all, f.Conditions(&e.Filter.Spec)...)
			}
		}
		return all
	}
	b.cost = func(r any) (cost feature.Cost) {
		for _, e := range r.(*feature.Rule).Extensions {
			own := ofFilter.cost(e.Filter)
			if e.Backend >= 0 {
				own = feature.Cost{Backends: own.Route}
			}
			cost = cost.Add(own)
		}
		return cost
	}
	b.traits = func(r any) (traits feature.Traits) {
		for _, e := range r.(*feature.Rule).Extensions {
			own := ofFilter.traits(e.Filter)
			if e.Backend < 0 {
				own.Apart = false // Only backends can need routes of their own.
			}
			traits = traits.Or(own)
		}
		return traits
	}
	return b
}

// extensions yields the HTTPRouteFilters of a rule itself, or those of one of its backendRefs.
func extensions(r any, backend int) func(yield func(feature.ExtensionFilter) bool) {
	return func(yield func(feature.ExtensionFilter) bool) {
		for _, e := range r.(*feature.Rule).Extensions {
			if e.Backend == backend && !yield(e) {
				return
			}
		}
	}
}

// CheckFilter finds what is wrong with an HTTPRouteFilter.
func CheckFilter(filter *v1alpha1.HTTPRouteFilter) (problems []verdict.Problem) {
	for f := range featuresOf(v1alpha1.KindHTTPRouteFilter) {
		problems = append(problems, f.check(filter)...)
	}
	return problems
}

// NeedsOfFilter lists what an HTTPRouteFilter refers to. Fields are relative to its spec.
func NeedsOfFilter(filter *v1alpha1.HTTPRouteFilter) (needs []feature.Need) {
	for f := range featuresOf(v1alpha1.KindHTTPRouteFilter) {
		needs = append(needs, f.needs(filter)...)
	}
	return needs
}

// ShapesClusters reports whether an HTTPRouteFilter changes the clusters of the backends to which it applies.
func ShapesClusters(e feature.ExtensionFilter) bool {
	with, without := feature.NewUpstream(), feature.NewUpstream()
	ClusterOfExtension(e, with)
	return string(Settings(with)) != string(Settings(without))
}

// ClusterOfExtension sets what an HTTPRouteFilter says about a cluster.
func ClusterOfExtension(e feature.ExtensionFilter, upstream *feature.Upstream) {
	for f := range featuresOf(v1alpha1.KindHTTPRouteFilter) {
		f.cluster(e.Filter, e.Have, upstream)
	}
}
