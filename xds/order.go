package xds

import (
	"slices"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// trait describes how resources of one type are delivered.
type trait struct {
	url string
	// wildcard: a first request without names requests everything (the protocol allows it only for these types).
	wildcard bool
	// gated: a resource waits until the clusters that it needs are warm.
	gated bool
	// afterListeners: a changed resource waits until the listeners that were sent are answered, because it may depend
	// on their filters.
	afterListeners bool
	// atOnce: a removed resource is removed without a grace period, because nothing can depend on it.
	atOnce bool
	// owned: a resource is named <owner>/<name>, and a listener needs the type under the owner's name instead of each
	// resource. It outlives a listener that is removed or stops using the type. If the listener stays, a removed
	// resource is removed at once.
	owned bool
	// remembered: Envoy remembers a resource even if it rejected it, so the same bytes are never sent twice before they
	// are accepted.
	remembered bool
	// apart: each resource has its own response, and several are in flight, so that a rejection is about one resource.
	apart bool
	// brings: after a resource, the resources that it needs are sent, changed or not. Envoy builds a changed cluster or
	// listener again and then waits for these, but does not request names that it has requested before.
	brings bool
	// lateAnswer: Envoy acknowledges no resource of the type while any is warming, which takes seconds if a host name
	// does not resolve.
	lateAnswer bool
	// reported is what the translation learns about the resources of a proxy.
	reported reporting
}

// reporting is how much of a type's state is reported.
type reporting int

const (
	unreported reporting = iota
	byName
	byVersion
)

// traits lists the types in the order in which they are sent: a type comes before the types that need it.
var traits = []trait{
	{url: resource.ClusterType, wildcard: true, brings: true, lateAnswer: true},
	{url: resource.EndpointType},
	{url: resource.SecretType, remembered: true, apart: true, reported: byName},
	{url: resource.ExtensionConfigType, gated: true},
	{url: resource.ListenerType, wildcard: true, gated: true, atOnce: true, brings: true, reported: byVersion},
	{
		url: resource.ScopedRouteType, wildcard: true, gated: true, afterListeners: true, atOnce: true, owned: true,
		remembered: true,
	},
	{url: resource.RouteType, gated: true, afterListeners: true, reported: byName},
	{url: resource.VirtualHostType, gated: true, afterListeners: true},
}

// traitOf returns the trait of a type and its position in the order. It returns false for a type without resources in
// any fleet.
func traitOf(url string) (t trait, rank int, known bool) {
	i := slices.IndexFunc(traits, func(t trait) bool { return t.url == url })
	if i < 0 {
		return trait{}, 0, false
	}
	return traits[i], i, true
}
