package translator

import (
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// TestOtherSpecOfOneGeneration: a CRD that takes the place of another shows fields of objects that nobody has changed,
// and whose generation is therefore the same. They are taken in all the same, while what is new in a status alone
// starts nothing.
func TestOtherSpecOfOneGeneration(t *testing.T) {
	world := benchWorld(t, 2)
	policy := func() *v1alpha1.BackendTrafficPolicy { return gatewayPolicy(3) }
	apply := func(p *v1alpha1.BackendTrafficPolicy) Outcome {
		t.Helper()
		outcome, err := world.Apply([]Event{{Object: p}})
		if err != nil {
			t.Fatal(err)
		}
		return outcome
	}
	apply(policy())
	told := policy()
	told.Status.Ancestors = []gwapiv1.PolicyAncestorStatus{{ControllerName: controllerName}}
	if o := apply(told); len(o.Statuses)+len(o.Deltas) > 0 {
		t.Errorf("a status of our own changed something: %v", o)
	}
	shown := policy()
	shown.Spec.Unread = []v1alpha1.UnreadField{{Path: "spec.healthCheck", Known: true}}
	if o := apply(shown); len(o.Statuses) == 0 || len(o.Deltas) == 0 {
		t.Errorf("a field that was not shown before changed nothing: %v", o)
	}
	if o := apply(policy()); len(o.Statuses) == 0 || len(o.Deltas) == 0 {
		t.Errorf("a field that is not shown any more changed nothing: %v", o)
	}
}
