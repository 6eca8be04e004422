package controller

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestStatusIsWrittenBesideOthers: the API server accepts our status of a Gateway if others have filled the list of
// conditions, and their conditions stay as they were.
func TestStatusIsWrittenBesideOthers(t *testing.T) {
	d := newDesk(t, time.Millisecond, time.Millisecond, 0)
	gateway := &gwapiv1.Gateway{}
	becomes(t, func() error {
		d.get(t, "gw", gateway)
		if len(gateway.Status.Listeners) == 0 {
			return fmt.Errorf("the Gateway has no status of its listener")
		}
		return nil
	})
	theirs := func(n int) (conditions []metav1.Condition) {
		for i := range n {
			conditions = append(conditions, metav1.Condition{
				Type: fmt.Sprintf("example.com/%d", i), Status: metav1.ConditionTrue, Reason: "Theirs",
				LastTransitionTime: metav1.Unix(1, 0),
			})
		}
		return conditions
	}
	becomes(t, func() error {
		d.get(t, "gw", gateway)
		gateway.Status.Conditions = theirs(7)
		gateway.Status.Listeners[0].Conditions = theirs(8)
		return d.Status().Update(t.Context(), gateway)
	})
	gateway.Spec.Listeners[0].Port = 81
	d.store(t, gateway)
	becomes(t, func() error {
		d.get(t, "gw", gateway)
		if last := gateway.Status.Conditions[len(gateway.Status.Conditions)-1]; last.Type != "Accepted" ||
			last.ObservedGeneration != gateway.Generation {
			return fmt.Errorf("the Gateway's last condition is %+v; want Accepted of generation %d", last, gateway.Generation)
		}
		return nil
	})
	for _, c := range []struct{ want, got []metav1.Condition }{
		{theirs(7), gateway.Status.Conditions[:7]}, {theirs(8), gateway.Status.Listeners[0].Conditions},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("conditions of others (-want +got):\n%s", diff)
		}
	}
}
