package v1alpha1

// ZoneAware shares out requests by the zones of endpoints: those in EndpointSlices, which are the zones of nodes, and
// those that Backends write. It works for each backend on its own; a rule whose backends must be in one cluster, as for
// sessions or fallbacks, is not zone-aware, except with weightedZones.
type ZoneAware struct {
	// WeightedZones gives zones shares of the requests. A zone that is not listed has weight 1.
	//
	// +optional
	// +listType=map
	// +listMapKey=zone
	// +kubebuilder:validation:MaxItems=64
	WeightedZones []WeightedZoneConfig `json:"weightedZones,omitempty"`
}

// WeightedZoneConfig is the share of a zone.
type WeightedZoneConfig struct {
	// Zone is the name of the zone, as in the label topology.kubernetes.io/zone of nodes.
	//
	// +required
	Zone string `json:"zone"`

	// Weight is the share, relative to the weights of the other zones that have endpoints. 0 keeps requests away from
	// the zone.
	//
	// +required
	Weight uint32 `json:"weight"`
}
