package definition_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/api/crdtest"
	"gatehouse/api/definition"
)

// wrong are values that hardly any schema accepts everywhere.
var wrong = []any{
	nil, true, int64(-1), int64(1 << 40), 0.5, "", "Überall", "a.b/c", []any{}, []any{nil}, map[string]any{}, map[string]any{"a": int64(1)},
}

// spoil changes a value somewhere in an object: it replaces it, removes it, or adds one.
func spoil(r *rand.Rand, value any) any {
	if r.IntN(4) == 0 {
		return wrong[r.IntN(len(wrong))]
	}
	switch v := value.(type) {
	case map[string]any:
		if len(v) == 0 {
			return wrong[r.IntN(len(wrong))]
		}
		name := slices.Sorted(maps.Keys(v))[r.IntN(len(v))]
		if v[name] = spoil(r, v[name]); r.IntN(8) == 0 {
			delete(v, name)
		}
		return v
	case []any:
		if len(v) == 0 || r.IntN(8) == 0 {
			return append(v, wrong[r.IntN(len(wrong))])
		}
		at := r.IntN(len(v))
		v[at] = spoil(r, v[at])
		return v
	}
	return wrong[r.IntN(len(wrong))]
}

// TestTheAPIServerSaysTheSame: of random objects of all kinds, also spoilt ones, those are valid that the validator of the API
// server finds valid, and the rules find the same in them with the schema of the kind.
func TestTheAPIServerSaysTheSame(t *testing.T) {
	kinds, err := crdtest.Kinds(func(schema.GroupVersionKind) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	crds, err := crdtest.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	set := definition.NewSet(crds...)
	r := rand.New(rand.NewPCG(1, 1))
	maker, broken := &crdtest.Maker{Rand: r}, 0
	for _, k := range kinds {
		defined, err := set.Kind(k.GroupVersionKind)
		if err != nil {
			t.Fatal(err)
		}
		valid, invalid := 0, 0
		for range 60 {
			made := k.Object("default", "a", maker.Spec(k))
			k.Default(made)
			for i := range 6 {
				object := runtime.DeepCopyJSON(made)
				if i > 0 {
					object["spec"] = spoil(r, object["spec"])
				}
				ours, theirs := definition.Accepts(defined, object)
				if ours != theirs {
					text, _ := json.Marshal(object)
					t.Fatalf("%s: accepted: %t, by the API server: %t: %s", k.Kind, ours, theirs, text)
				}
				if !theirs {
					invalid++
					continue
				}
				valid++
				found, want := definition.Broken(defined, object)
				if diff := cmp.Diff(want, found); diff != "" {
					t.Fatalf("%s: broken rules (-API server +ours):\n%s", k.Kind, diff)
				}
				broken += len(found)
			}
		}
		t.Logf("%s %s: %d valid, %d invalid", k.Version, k.Kind, valid, invalid)
		if valid == 0 || invalid == 0 {
			t.Errorf("%s %s: %d objects are valid, %d are not", k.Version, k.Kind, valid, invalid)
		}
	}
	if t.Logf("%d broken rules", broken); broken == 0 {
		t.Error("no rule is broken")
	}
}
