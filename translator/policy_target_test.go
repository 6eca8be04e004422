package translator

import (
	"slices"
	"testing"

	"gatehouse/policies"
)

// TestTargetKindsAreFound compares the kinds that policies on Gateways and routes can attach to with those that the
// tables can find.
func TestTargetKindsAreFound(t *testing.T) {
	tables := newWorld(t).tables
	for _, kind := range policies.Kinds {
		for _, target := range kind.TargetKinds() {
			if found := tables.targetKinds[target.Kind]; found.sections == nil || found.selection == nil {
				t.Errorf("a %s can target a %s, which is not found", kind.Kind, target.Kind)
			}
		}
	}
	for name := range tables.targetKinds {
		if !slices.ContainsFunc(policies.TargetKinds, func(k policies.TargetKind) bool { return k.Kind == name }) {
			t.Errorf("kind %s is found and cannot be targeted", name)
		}
	}
}
