package crdtest

import (
	"math/rand/v2"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"gatehouse/translator/heavy"
)

// TestObjectsGrow: some objects of every kind become many times as large and are still admitted. Otherwise the fuzz
// targets of cost would find nothing.
func TestObjectsGrow(t *testing.T) {
	kinds, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	largest := 0
	for _, k := range kinds {
		m, factor, left := &Maker{Rand: rand.New(rand.NewPCG(1, 1)), Words: heavy.Words}, 0, 8
		for range 10 * tries {
			small := k.Object("default", "a", m.Spec(k))
			if !k.AdmitsSome(small) {
				continue
			}
			if left--; left < 0 && factor > 1 {
				break // Small objects of kinds with many fields seldom have a list or a text that can grow.
			}
			grown := m.Grown(k, small, nil)
			if !k.Admits(grown) {
				t.Errorf("a %s of %d bytes is not admitted after it has grown", k.Kind, size(grown))
			}
			factor, largest = max(factor, size(grown)/size(small)), max(largest, size(grown))
		}
		t.Logf("%s of %s grew up to %d times", k.Kind, k.Version, factor)
		if factor < 2 {
			t.Errorf("no %s grew", k.Kind)
		}
	}
	if largest < MaxObject/2 {
		t.Errorf("the largest object has %d bytes", largest)
	}
}

// TestCostlyObjectsAreTheSame: a seed always makes the same objects, so that a finding of a fuzz target can be
// reproduced.
func TestCostlyObjectsAreTheSame(t *testing.T) {
	sizes := func() (n []int) {
		for seed := range uint64(4) {
			objects, err := Costly(rand.New(rand.NewPCG(seed, 1)), types.NamespacedName{Namespace: "default", Name: "a"},
				heavy.Words, []string{"[a-z]{1,500}"})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				n = append(n, size(o))
			}
		}
		return n
	}
	once, again := sizes(), sizes()
	if len(once) != len(again) {
		t.Fatalf("%d objects, then %d", len(once), len(again))
	}
	for i := range once {
		if once[i] != again[i] {
			t.Errorf("object %d has %d bytes, then %d", i, once[i], again[i])
		}
	}
}
