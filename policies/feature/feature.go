// Package feature defines a feature: one part of the spec of an object, and the whole effect of this part.
//
// A feature is a value, not an interface: a function that it does not need is nil. The lists of features in package
// policies are the only place that enumerates features.
package feature

import (
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// Feature is one part of the spec S of an object, and all that it means.
//
// The feature does not know where its spec stands: all fields of problems and needs are relative to S. Whoever binds
// the feature to an object puts the path of S before them (docs/decisions/055-what-features-are-given.md).
type Feature[S any] struct {
	// Name is the field of the spec that the feature is about, such as timeout. It is empty for a feature that helps
	// another.
	Name string
	// Check finds what is wrong with the spec. It is pure, and the only place where the feature judges its input. The
	// other functions may get a spec that did not pass; they leave out what cannot be expressed.
	Check func(spec *S) []verdict.Problem
	// Needs lists what must be looked up outside of the spec. It is nil if the feature refers to nothing.
	Needs func(spec *S) []Need
	// Keys are the keys of Secrets and ConfigMaps that Needs can name. Caches keep only these.
	Keys []ContentKey
	// Cluster sets the feature's part on a cluster, its default included if the spec does not say. It is nil if the
	// feature does not shape clusters.
	Cluster func(spec *S, have Have, upstream *Upstream)
	// Route sets the feature's part on a route. It is nil if the feature does not shape routes. For a policy it is
	// called once, with an empty route that forwards, and the result is merged into each route that the policy covers.
	Route func(spec *S, have Have, route *Route)
	// Settle completes a route of a rule after Route of all features, of policies and of the rule, for what depends on
	// what others have set. The features of the rule have their turn in order. It is called for routes that answer 500
	// too, for which Route is not called. It is nil if nothing is left to do, and always nil for features of policies.
	Settle func(spec *S, route *Route)
	// Share sets the feature's part on the share of a backend whose backendRef has filters. Of a rule, the spec has these
	// filters and nothing else. It is nil if the feature does nothing for single backends.
	Share func(spec *S, share *Share)
	// Conditions are further conditions of requests, of which one must hold. It is nil if the feature has none.
	Conditions func(spec *S) []Condition
	// Types are the types of filters of a rule that the feature carries out; with Share, those of its backendRefs too.
	Types []gwapiv1.HTTPRouteFilterType
	// Cost estimates what the feature's part costs each route of an Envoy. It is nil if that is nothing. The size of
	// what a policy sets on a route is counted without it.
	Cost func(spec *S) Cost
	// Traits says what others must know of the feature's part before it is made, and if it cannot be made. It is nil if
	// that is nothing.
	Traits func(spec *S) Traits
	// Listener sets the feature's part on a listener, its default included if the spec does not say. It is nil if the
	// feature does not shape listeners.
	Listener func(spec *S, have Have, l *Listener)
	// Connection sets the feature's part on connections that are forwarded without looking into them. It is nil if the
	// feature is about requests only.
	Connection func(spec *S, have Have, connection *Connection)
	// Effective says what the feature's part means, to those who judge the effective configuration. It must agree with
	// what the other functions set, and says nothing that the spec leaves to defaults. The features of a kind are called
	// in order, and those of broader objects before. It is nil if the part means nothing to them.
	Effective func(spec *S, have Have, e *Effective)
	// Filters are the HTTP filters that the feature needs in every connection manager, in order. Most need one. It is
	// nil if the feature needs none.
	Filters []Filter
}
