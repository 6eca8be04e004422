package v1alpha1

// ZoneAware shares out requests by the zones of endpoints: those in EndpointSlices, which are the zones of nodes, and
// those that Backends write. It works for each backend on its own; a rule whose backends must be in one cluster, as for
// sessions or fallbacks, is not zone-aware, except with weightedZones.
//
// +kubebuilder:validation:XValidation:rule="!has(self.preferLocal) || !has(self.weightedZones) || size(self.weightedZones) == 0",fieldPath=".preferLocal",message="preferLocal and weightedZones exclude each other: remove one of them"
type ZoneAware struct {
	// PreferLocal sends requests to endpoints in the zone of the Envoy that has got them, as far as these can take them:
	// if the zone has as large a share of the endpoints as of the Envoys, all of them. Envoys know their zone from
	// Kubernetes 1.35 on; without it, or without endpoints there, all zones get requests. Not for types ConsistentHash
	// and BackendUtilization.
	//
	// +optional
	PreferLocal *PreferLocalZone `json:"preferLocal,omitempty"`

	// WeightedZones gives zones shares of the requests. A zone that is not listed has weight 1.
	//
	// +optional
	// +listType=map
	// +listMapKey=zone
	// +kubebuilder:validation:MaxItems=64
	WeightedZones []WeightedZoneConfig `json:"weightedZones,omitempty"`
}

// PreferLocalZone sends requests to endpoints in the zone of the Envoy that has got them.
type PreferLocalZone struct {
	// Force sends all requests there, whatever the share of the zone is.
	//
	// +optional
	Force *ForceLocalZone `json:"force,omitempty"`

	// MinEndpointsThreshold is how many endpoints there must be in all zones. Default: 6.
	//
	// +optional
	MinEndpointsThreshold *uint64 `json:"minEndpointsThreshold,omitempty"`

	// PercentageEnabled is the share of requests, in per cent, for which zones count. Default: 100.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	PercentageEnabled *uint32 `json:"percentageEnabled,omitempty"`
}

// ForceLocalZone sends all requests to endpoints in the zone of the Envoy that has got them.
type ForceLocalZone struct {
	// MinEndpointsInZoneThreshold is how many endpoints there must be in the zone. Default: 1.
	//
	// +optional
	MinEndpointsInZoneThreshold *uint32 `json:"minEndpointsInZoneThreshold,omitempty"`
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
