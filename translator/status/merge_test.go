package status

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const controllerName = "gateway.example.com/ours"

// merging is a merger at a second, for an object of a generation.
func merging(generation, second int64) *Merger {
	return &Merger{
		Controller: controllerName, Own: []string{"Accepted", "Programmed", "ResolvedRefs", "Overridden"},
		Generation: generation, Now: metav1.Unix(second, 0),
	}
}

// parent is the status of a route's parent that a controller wrote.
func parent(controller gwapiv1.GatewayController) gwapiv1.RouteParentStatus {
	return gwapiv1.RouteParentStatus{
		ParentRef: gwapiv1.ParentReference{Name: "g"}, ControllerName: controller,
		Conditions: []metav1.Condition{{
			Type: "Accepted", Status: "True", Reason: "Theirs", ObservedGeneration: 1,
			LastTransitionTime: metav1.Unix(1, 0),
		}},
	}
}

// TestMergeLeavesOthersAlone: entries of other controllers are not changed. Our own for a parentRef that no longer
// exists is removed.
func TestMergeLeavesOthersAlone(t *testing.T) {
	m, theirs := merging(2, 9), parent("other.example.com/x")
	parents := m.Parents([]gwapiv1.RouteParentStatus{parent(controllerName), theirs}, nil)
	if m.Change != Verdicts {
		t.Error("our entry for a parent that is gone was kept")
	}
	if diff := cmp.Diff([]gwapiv1.RouteParentStatus{theirs}, parents); diff != "" {
		t.Errorf("parents (-want +got):\n%s", diff)
	}
}

// TestMergeRemovesWhatIsFixed: a condition that a listener or a Gateway has only while something is wrong is removed
// when it is fixed.
func TestMergeRemovesWhatIsFixed(t *testing.T) {
	wrong := func(kind string) metav1.Condition {
		return metav1.Condition{
			Type: kind, Status: metav1.ConditionFalse, Reason: "Wrong",
			LastTransitionTime: metav1.Unix(1, 0),
		}
	}
	theirs := wrong("example.com/Theirs")
	found := &gwapiv1.GatewayStatus{
		Conditions: []metav1.Condition{wrong("ResolvedRefs"), theirs},
		Listeners: []gwapiv1.ListenerStatus{{Name: "l", Conditions: []metav1.Condition{
			wrong("Programmed"), theirs,
			wrong("ResolvedRefs"),
		}}},
	}
	m := merging(2, 9)
	m.Gateway(found, &gwapiv1.GatewayStatus{Listeners: []gwapiv1.ListenerStatus{{Name: "l"}}})
	for _, left := range [][]metav1.Condition{found.Conditions, found.Listeners[0].Conditions} {
		if diff := cmp.Diff([]metav1.Condition{theirs}, left); diff != "" || m.Change != Verdicts {
			t.Errorf("change %v, conditions (-want +got):\n%s", m.Change, diff)
		}
	}
}

// TestMergeKeepsLimits: where others have filled a list of a status up to the API's limit, the first of our own are
// written.
func TestMergeKeepsLimits(t *testing.T) {
	var found []metav1.Condition
	for i := range MaxConditions - 1 {
		found = append(found, metav1.Condition{
			Type: fmt.Sprintf("example.com/%d", i), Status: metav1.ConditionTrue,
			Reason: "R",
		})
	}
	desired := []metav1.Condition{
		{Type: "Accepted", Status: metav1.ConditionTrue},
		{Type: "Programmed", Status: metav1.ConditionTrue},
	}
	m := merging(2, 9)
	merged := m.Conditions(append(found, metav1.Condition{
		Type: "Overridden", Status: metav1.ConditionTrue,
		Reason: "Old",
	}), desired)
	var types []string
	for _, c := range merged[MaxConditions-1:] {
		types = append(types, c.Type)
	}
	if m.Change != Verdicts || !slices.Equal(types, []string{"Accepted"}) {
		t.Errorf("change %v, after %d of others there is %q; want Accepted", m.Change, MaxConditions-1, types)
	}
	again := merging(2, 10)
	if again.Conditions(merged, desired); again.Change != Nothing {
		t.Errorf("a second merge changes the conditions: %v", again.Change)
	}
}

// TestMergeCorrectsRestoredConditions: conditions that came with a backup, of a generation that the object has not
// reached again, do not stay.
func TestMergeCorrectsRestoredConditions(t *testing.T) {
	var found []metav1.Condition
	for _, kind := range []string{"Accepted", "Programmed"} {
		found = append(found, metav1.Condition{Type: kind, Status: metav1.ConditionFalse, ObservedGeneration: 57})
	}
	merged := merging(1, 9).Conditions(found, []metav1.Condition{{Type: "Accepted", Status: metav1.ConditionTrue}})
	want := []metav1.Condition{{
		Type: "Accepted", Status: metav1.ConditionTrue, ObservedGeneration: 1,
		LastTransitionTime: metav1.Unix(9, 0),
	}}
	if diff := cmp.Diff(want, merged); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
}

// TestMergeWritesEmptyLists: the API server rejects null where the last entry is removed.
func TestMergeWritesEmptyLists(t *testing.T) {
	route := &gwapiv1.HTTPRoute{}
	route.Status.Parents = merging(2, 9).Parents([]gwapiv1.RouteParentStatus{parent(controllerName)}, nil)
	text, err := json.Marshal(route)
	if err != nil || !strings.Contains(string(text), `"parents":[]`) {
		t.Errorf("status: %s, %v; want an empty list of parents", text, err)
	}
}

// FuzzConditions: merging any conditions keeps foreign ones, and a second merge changes nothing.
func FuzzConditions(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		some := func(types ...string) []metav1.Condition {
			var list []metav1.Condition
			for _, kind := range types {
				if r.IntN(2) == 0 {
					list = append(list, metav1.Condition{
						Type: kind, Status: []metav1.ConditionStatus{"True", "False"}[r.IntN(2)],
						Reason: "R",
					})
				}
			}
			return list
		}
		old, desired := some("Theirs", "Accepted", "Programmed", "Overridden"), some("Accepted", "ResolvedRefs")
		once := merging(3, 5).Conditions(old, desired)
		again := merging(3, 6)
		if twice := again.Conditions(once, desired); again.Change != Nothing || !cmp.Equal(once, twice) {
			t.Errorf("a second merge changed %v to %v", once, twice)
		}
		for _, c := range old {
			if c.Type == "Theirs" && !True(once, "Theirs") && c.Status == "True" {
				t.Errorf("a foreign condition was lost: %v", once)
			}
		}
	})
}

// FuzzListenerStatuses: merging the statuses of a ListenerSet's listeners leaves the desired ones, in their order, and
// a second merge changes nothing.
func FuzzListenerStatuses(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 3))
		some := func() (s gwapiv1.ListenerSetStatus) {
			for _, i := range r.Perm(4)[:r.IntN(5)] {
				s.Listeners = append(s.Listeners, gwapiv1.ListenerEntryStatus{
					Name: gwapiv1.SectionName(rune('a' + i)), AttachedRoutes: int32(r.IntN(2)),
					Conditions: []metav1.Condition{{
						Type: "Accepted", Status: []metav1.ConditionStatus{"True", "False"}[r.IntN(2)],
						Reason: "R",
					}},
				})
			}
			return s
		}
		set, desired := &gwapiv1.ListenerSet{Status: some()}, some()
		merging(3, 5).ListenerSet(set, &desired)
		once := set.DeepCopy()
		again := merging(3, 6)
		if again.ListenerSet(set, &desired); again.Change != Nothing || !cmp.Equal(once, set) {
			t.Errorf("a second merge changed\n%v to\n%v", once, set)
		}
		names := func(list []gwapiv1.ListenerEntryStatus) (text string) {
			for _, l := range list {
				text += string(l.Name)
			}
			return text
		}
		if got, want := names(once.Status.Listeners), names(desired.Listeners); got != want {
			t.Errorf("listeners %q, want %q", got, want)
		}
	})
}
