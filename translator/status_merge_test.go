package translator

import (
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/translator/status"
)

// TestMergeTwiceIsOnce: whatever status exists and whatever is desired, a second merge changes nothing.
func TestMergeTwiceIsOnce(t *testing.T) {
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
			once, _ := s.Merge(controllerName, s.Object, metav1.Unix(100, 0))
			twice, changed := s.Merge(controllerName, once, metav1.Unix(200, 0))
			if changed != status.Nothing {
				t.Fatalf("seed %d: the second merge changed %T %s:\n%s", seed, once, keyOf(once), cmp.Diff(once, twice))
			}
		}
	}
}

// condition finds the types of the conditions in a status.
var condition = regexp.MustCompile(`"type":"([^"]+)","status":`)

// mustBeOwn fails unless each condition is listed as our own: any other would stay for ever, even when the cause is
// fixed.
func mustBeOwn(t *testing.T, statuses []*Status) {
	t.Helper()
	for _, s := range statuses {
		for _, found := range condition.FindAllStringSubmatch(s.encoded, -1) {
			if !slices.Contains(ownConditions, found[1]) {
				t.Errorf("condition %s of %T %s is not in the list of our own, so it would never be removed", found[1], s.Object,
					keyOf(s.Object))
			}
		}
	}
}
