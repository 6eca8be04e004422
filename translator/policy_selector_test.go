package translator

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// labelledRoute is a route of benchWorld with a label that all routes have, and one that says which app it belongs to.
func labelledRoute(i, app int, generation int64) *gwapiv1.HTTPRoute {
	r := benchRoute(i, generation)
	r.Labels = map[string]string{"team": "a", "app": fmt.Sprint("app-", app)}
	return r
}

// selectingPolicy is a policy on the routes of an app.
func selectingPolicy(app int, generation int64) *v1alpha1.BackendTrafficPolicy {
	name := fmt.Sprint("policy-", app)
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: "n", Name: name, UID: types.UID(name),
		Generation: generation,
	}}
	p.Spec.TargetSelectors = []v1alpha1.TargetSelector{{
		Kind: "HTTPRoute", MatchLabels: map[string]string{"team": "a"},
		MatchExpressions: []metav1.LabelSelectorRequirement{{
			Key: "app", Operator: metav1.LabelSelectorOpIn,
			Values: []string{fmt.Sprint("app-", app)},
		}},
	}}
	p.Spec.Timeout = &v1alpha1.Timeout{HTTP: &v1alpha1.HTTPTimeout{RequestTimeout: ptr(gwapiv1.Duration(fmt.Sprintf("%ds",
		generation)))}}
	return p
}

// TestSelectorsReadTheirCandidates: with 1,000 policies that select 10,000 routes by two labels, one of which all
// routes have, a route concerns the policies that select it or did so before, and a policy reads the routes that have
// its other label.
func TestSelectorsReadTheirCandidates(t *testing.T) {
	const apps, routes = 1000, 10000
	w := newWorld(t)
	events := benchEvents(0)
	for i := range routes {
		events = append(events, Event{Object: labelledRoute(i, i%apps, 1)})
	}
	for app := range apps {
		events = append(events, Event{Object: selectingPolicy(app, 1)})
	}
	if _, err := w.Apply(events); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		event Event
		// attachments is how many policies look for their targets, targets how many routes look for their policies.
		attachments, targets int
	}{
		{"spec of a route", Event{Object: labelledRoute(7, 7, 2)}, 0, 0},
		{"other app of a route", Event{Object: labelledRoute(7, 8, 3)}, 2, 1},
		{"route of no app with a policy", Event{Object: labelledRoute(7, apps, 4)}, 1, 0},
		{"new route", Event{Object: labelledRoute(routes, 9, 1)}, 1, 1},
		{"deleted route", Event{Object: labelledRoute(routes, 9, 1), Deleted: true}, 1, 0},
		{"policy", Event{Object: selectingPolicy(10, 2)}, 1, routes / apps},
	} {
		if _, err := w.Apply([]Event{c.event}); err != nil {
			t.Fatal(err)
		}
		work := computed(w)
		if work["attachments of policies"] != c.attachments || work["targets of policies"] != c.targets {
			t.Errorf("%s: %d policies look for their targets and %d targets for their policies, want %d and %d",
				c.name, work["attachments of policies"], work["targets of policies"], c.attachments, c.targets)
		}
		for table, rows := range work {
			if rows > 3*routes/apps {
				t.Errorf("%s: %d rows of %s are computed", c.name, rows, table)
			}
		}
	}
	p := selectingPolicy(20, 1)
	ref := verdict.Ref{Group: v1alpha1.GroupName, Kind: "BackendTrafficPolicy", Namespace: "n", Name: p.Name}
	read, _ := w.engine.Explain("attachments of policies", ref.String()+"|BackendTrafficPolicy|HTTPRoute/n/r20/")
	want := []string{
		"policies[BackendTrafficPolicy/n/policy-20]",
		"Namespace[n] (missing)",
		"selectable Route.by label[HTTPRoute|n|app=app-20]",
		"sizes of selectable Route[HTTPRoute|n|app=app-20]",
		"sizes of selectable Route[HTTPRoute|n|team=a]",
	}
	if diff := cmp.Diff(want, read); diff != "" {
		t.Errorf("what a policy reads to find its targets (-want +got):\n%s", diff)
	}
}
