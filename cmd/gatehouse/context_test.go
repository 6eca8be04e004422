package main

import (
	"slices"
	"testing"
)

// TestKindsAreReadOnce: what a cluster has stored is read once. A binding of a policy that is there twice would make the
// policy change objects twice.
func TestKindsAreReadOnce(t *testing.T) {
	kinds, err := readKinds()
	if err != nil {
		t.Fatal(err)
	}
	for i, kind := range kinds {
		if slices.Contains(kinds[:i], kind) {
			t.Errorf("%s is read twice", kind)
		}
	}
}
