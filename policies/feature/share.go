package feature

import routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

// Share is the share of a rule's requests that a backend gets.
type Share struct {
	*routev3.WeightedCluster_ClusterWeight
	// OnRoute is set by a feature whose part Envoy only knows for routes and not for shares. It applies the part to a
	// route of the backend's own, in place of what the rule says. The feature has the trait Apart.
	OnRoute func(*Route)
}

// Plain reports whether the backend gets the requests as the rule has them.
func (s *Share) Plain() bool {
	return s.OnRoute == nil && !ChangesHeaders(s.WeightedCluster_ClusterWeight)
}

// ChangesHeaders reports whether headers are changed for a share alone.
func ChangesHeaders(c *routev3.WeightedCluster_ClusterWeight) bool {
	return len(c.RequestHeadersToAdd)+len(c.RequestHeadersToRemove)+len(c.ResponseHeadersToAdd)+len(c.ResponseHeadersToRemove) > 0
}
