package v1alpha1

import "bytes"

// Merging says whether a policy replaces the less specific ones of its kind, or changes them.
type Merging struct {
	// MergeType merges the policy into the one that would take effect without it: the next less specific policy of the
	// kind. What the policy does not set is taken from there. Without mergeType, and if there is no such policy, the
	// policy takes effect as it is written.
	//
	// JSONMerge replaces lists (RFC 7386). So does StrategicMerge, except for lists whose items have a key. Only
	// policies that target nothing but routes can have a mergeType. A route is not served if one of the merged policies
	// is broken.
	//
	// +optional
	MergeType *MergeType `json:"mergeType,omitempty"`

	// Written is the spec as it was decoded, nil without a mergeType: an empty list replaces another one, so what is
	// written must be distinguished from what is not.
	Written []byte `json:"-"`
}

// keep stores the text of a spec that has a mergeType.
func (m *Merging) keep(text []byte) {
	if m.Written = nil; m.MergeType != nil {
		m.Written = bytes.Clone(text)
	}
}
