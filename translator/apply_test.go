package translator

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestApplyTwiceIsOnce: whatever status is there and whatever is desired, a second application changes nothing.
func TestApplyTwiceIsOnce(t *testing.T) {
	for seed := range uint64(100) {
		h, w := newHistory(seed), newWorld(t)
		var events []Event
		for range 30 {
			events = append(events, h.event())
		}
		outcome, err := w.Apply(events)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range outcome.Statuses {
			once, _ := s.Apply(controllerName, s.Object, metav1.Unix(100, 0))
			twice, changed := s.Apply(controllerName, once, metav1.Unix(200, 0))
			if changed != Nothing {
				t.Fatalf("seed %d: the second application changed %T %s:\n%s", seed, once, keyOf(once), cmp.Diff(once, twice))
			}
		}
	}
}

// foreign is a parent's status that another controller wrote.
func foreign() gwapiv1.RouteParentStatus {
	return gwapiv1.RouteParentStatus{
		ParentRef: gwapiv1.ParentReference{Name: "g"}, ControllerName: "other.example.com/x",
		Conditions: []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Theirs", ObservedGeneration: 1, LastTransitionTime: metav1.Unix(1, 0)}},
	}
}

// TestApplyLeavesOthersAlone: entries of other controllers stay to the letter; our own for a parentRef that is gone do not.
func TestApplyLeavesOthersAlone(t *testing.T) {
	ours := foreign()
	ours.ControllerName = controllerName
	route := &gwapiv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r", Generation: 2}}
	route.Status.Parents = []gwapiv1.RouteParentStatus{ours, foreign()}
	next, changed := newStatus(route, nil, &gwapiv1.RouteStatus{}).Apply(controllerName, route, metav1.NewTime(time.Unix(9, 0)))
	if changed != Verdicts {
		t.Error("our entry for a parent that is gone was kept")
	}
	if diff := cmp.Diff([]gwapiv1.RouteParentStatus{foreign()}, next.(*gwapiv1.HTTPRoute).Status.Parents); diff != "" {
		t.Errorf("parents (-want +got):\n%s", diff)
	}
}

// TestApplyTakesBackWhatIsMended: a condition that a listener or a Gateway has only while something is wrong goes when it is mended.
func TestApplyTakesBackWhatIsMended(t *testing.T) {
	gateway := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "g", Generation: 2}}
	wrong := func(kind string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: "Wrong", LastTransitionTime: metav1.Unix(1, 0)}
	}
	theirs := wrong("example.com/Theirs")
	gateway.Status.Conditions = []metav1.Condition{wrong(conditionChain), theirs}
	gateway.Status.Listeners = []gwapiv1.ListenerStatus{{Name: "l", Conditions: []metav1.Condition{wrong(conditionHostname), theirs, wrong(conditionChain)}}}
	desired := &gwapiv1.GatewayStatus{Listeners: []gwapiv1.ListenerStatus{{Name: "l"}}}
	next, changed := newStatus(gateway, nil, desired).Apply(controllerName, gateway, metav1.NewTime(time.Unix(9, 0)))
	status := next.(*gwapiv1.Gateway).Status
	for _, left := range [][]metav1.Condition{status.Conditions, status.Listeners[0].Conditions} {
		if diff := cmp.Diff([]metav1.Condition{theirs}, left); diff != "" || changed != Verdicts {
			t.Errorf("change %v, conditions (-want +got):\n%s", changed, diff)
		}
	}
}

// condition finds the types of the conditions in a status.
var condition = regexp.MustCompile(`"type":"([^"]+)","status":`)

// mustBeOwn fails unless each condition is listed as our own: any other stays for ever, although what was wrong is mended.
func mustBeOwn(t *testing.T, statuses []*Status) {
	t.Helper()
	for _, s := range statuses {
		for _, found := range condition.FindAllStringSubmatch(s.encoded, -1) {
			if !slices.Contains(own, found[1]) {
				t.Errorf("condition %s of %T %s is not in the list of our own, so it would never be taken back", found[1], s.Object, keyOf(s.Object))
			}
		}
	}
}

// TestApplyWritesALastEmptyList: the API server refuses null where the last entry goes.
func TestApplyWritesALastEmptyList(t *testing.T) {
	ours := foreign()
	ours.ControllerName = controllerName
	route := &gwapiv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "r"}}
	route.Status.Parents = []gwapiv1.RouteParentStatus{ours}
	next, _ := newStatus(route, nil, &gwapiv1.RouteStatus{}).Apply(controllerName, route, metav1.Now())
	text, err := json.Marshal(next)
	if err != nil || !strings.Contains(string(text), `"parents":[]`) {
		t.Errorf("status: %s, %v; want an empty list of parents", text, err)
	}
}

// FuzzConditions: merging any conditions keeps foreign ones, and is done after once.
func FuzzConditions(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		some := func(types ...string) []metav1.Condition {
			var list []metav1.Condition
			for _, kind := range types {
				if r.IntN(2) == 0 {
					list = append(list, metav1.Condition{Type: kind, Status: []metav1.ConditionStatus{"True", "False"}[r.IntN(2)], Reason: "R"})
				}
			}
			return list
		}
		old, desired := some("Theirs", "Accepted", "Programmed", "Overridden"), some("Accepted", "ResolvedRefs")
		m := merger{generation: 3, now: metav1.Unix(5, 0)}
		once := m.conditions(old, desired)
		again := merger{generation: 3, now: metav1.Unix(6, 0)}
		twice := again.conditions(once, desired)
		if again.change != Nothing || !cmp.Equal(once, twice) {
			t.Errorf("a second merge changed %v to %v", once, twice)
		}
		for _, c := range old {
			if c.Type == "Theirs" && !trueIn(once, "Theirs") && c.Status == "True" {
				t.Errorf("a foreign condition was lost: %v", once)
			}
		}
	})
}

// FuzzListenerStatuses: merging the statuses of a ListenerSet's listeners leaves those that are desired, in their order, and is done after once.
func FuzzListenerStatuses(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 3))
		some := func() (s gwapiv1.ListenerSetStatus) {
			for _, i := range r.Perm(4)[:r.IntN(5)] {
				s.Listeners = append(s.Listeners, gwapiv1.ListenerEntryStatus{
					Name: gwapiv1.SectionName(rune('a' + i)), AttachedRoutes: int32(r.IntN(2)),
					Conditions: []metav1.Condition{{Type: "Accepted", Status: []metav1.ConditionStatus{"True", "False"}[r.IntN(2)], Reason: "R"}},
				})
			}
			return s
		}
		old, desired := &gwapiv1.ListenerSet{}, some()
		old.Status = some()
		s := newStatus(old, nil, &desired)
		once, _ := s.Apply(controllerName, old, metav1.Unix(5, 0))
		twice, change := s.Apply(controllerName, once, metav1.Unix(6, 0))
		if change != Nothing || !cmp.Equal(once, twice) {
			t.Errorf("a second merge changed\n%v to\n%v", once, twice)
		}
		names := func(list []gwapiv1.ListenerEntryStatus) (text string) {
			for _, l := range list {
				text += string(l.Name)
			}
			return text
		}
		if got, want := names(once.(*gwapiv1.ListenerSet).Status.Listeners), names(desired.Listeners); got != want {
			t.Errorf("listeners %q, want %q", got, want)
		}
	})
}
