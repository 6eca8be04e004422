package xds

import (
	"slices"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// trait says how resources of one type are delivered.
type trait struct {
	url string
	// wildcard: a first request that names nothing asks for everything (the protocol allows it for these types only).
	wildcard bool
	// gated: a resource waits until the clusters that it needs are warm.
	gated bool
	// afterListeners: a changed resource waits until listeners that were sent are answered for, as it may rely on their filters.
	afterListeners bool
	// atOnce: a vanished resource is removed without a grace, since nothing can hang on it.
	atOnce bool
	// owned: a resource is named <owner>/<name>, and a listener needs the type under the owner's name instead of each resource. It outlives
	// a listener that vanishes or stops taking the type. With a listener that goes on it leaves at once.
	owned bool
	// remembered: Envoy remembers what it was sent even if it refused that, so that nothing is sent twice in the same bytes before it was taken.
	remembered bool
	// apart: each resource has a response of its own, several of which are under way, so that a refusal tells which is meant.
	apart bool
	// brings: what is sent is followed by the resources that it needs, changed or not. Envoy builds a changed cluster or listener anew and
	// then waits for these, but does not ask for names that it has asked for before.
	brings bool
	// lateAnswer: Envoy acknowledges no resource of the type while any is warming, which takes seconds if a host name does not resolve.
	lateAnswer bool
	// reported is what the translation is told of what a proxy has.
	reported reporting
}

// reporting is how much of a type's state is reported.
type reporting int

const (
	unreported reporting = iota
	byName
	byVersion
)

// traits lists the types in the order in which they are sent: what is needed comes before what needs it.
var traits = []trait{
	{url: resource.ClusterType, wildcard: true, brings: true, lateAnswer: true},
	{url: resource.EndpointType},
	{url: resource.SecretType, remembered: true, apart: true, reported: byName},
	{url: resource.ExtensionConfigType, gated: true},
	{url: resource.ListenerType, wildcard: true, gated: true, atOnce: true, brings: true, reported: byVersion},
	{url: resource.ScopedRouteType, wildcard: true, gated: true, afterListeners: true, atOnce: true, owned: true, remembered: true},
	{url: resource.RouteType, gated: true, afterListeners: true, reported: byName},
	{url: resource.VirtualHostType, gated: true, afterListeners: true},
}

// traitOf returns the trait of a type and its place in the order. It is false for a type that no fleet has resources of.
func traitOf(url string) (t trait, rank int, known bool) {
	i := slices.IndexFunc(traits, func(t trait) bool { return t.url == url })
	if i < 0 {
		return trait{}, 0, false
	}
	return traits[i], i, true
}
