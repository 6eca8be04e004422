package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/kubetest"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

var server kubetest.Server

func TestMain(m *testing.M) {
	const crds = "manifests/gatehouse-crds/files/gatehouse.dev_"
	kubetest.Run(m, &server, "bin/gateway-api-crds.yaml", crds+"admissionrules.yaml", crds+"admissionexceptions.yaml")
}

const controllerName = "gateway.envoyproxy.io/gatewayclass-controller"

// desk is a StatusWriter with a real API server and the real translation.
type desk struct {
	client.Client
	cache     *lagging // The writer reads from it.
	writer    *StatusWriter
	follower  *StatusWriter // It only remembers.
	metrics   *prometheus.Registry
	world     *translator.World
	namespace string
}

func newDesk(t *testing.T, interval, countInterval, patience time.Duration) *desk {
	t.Helper()
	d := &desk{Client: server.Client(t), metrics: prometheus.NewRegistry()}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "status-"}}
	if err := d.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	d.namespace = namespace.Name
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	d.world = translator.NewWorld(translator.NewTables(translator.Settings{ControllerName: controllerName}, engine))
	d.cache = &lagging{Client: d.Client}
	d.writer = NewStatusWriter(d.cache, controllerName, d.metrics, logr.Discard())
	d.writer.interval, d.writer.countInterval, d.writer.patience, d.writer.handover = interval, countInterval, patience, 0
	d.follower = NewStatusWriter(nil, controllerName, nil, logr.Discard())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.writer.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	class := &gwapiv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: d.namespace},
		Spec:       gwapiv1.GatewayClassSpec{ControllerName: controllerName},
	}
	d.store(t, class)
	d.store(t, &gwapiv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Name: "gw", Namespace: d.namespace},
		Spec: gwapiv1.GatewaySpec{
			GatewayClassName: gwapiv1.ObjectName(class.Name),
			Listeners:        []gwapiv1.Listener{{Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80}},
		},
	})
	return d
}

// store creates or updates an object and translates it.
func (d *desk) store(t *testing.T, o client.Object) {
	t.Helper()
	write := func() error { return d.Update(t.Context(), o) }
	if o.GetResourceVersion() == "" {
		write = func() error { return d.Create(t.Context(), o) }
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	d.judge(t, o)
}

// judge passes the verdict of the translation on a stored object to the writer.
func (d *desk) judge(t *testing.T, o client.Object) {
	t.Helper()
	d.apply(t, translator.Event{Object: o.DeepCopyObject().(translator.Object)})
}

func (d *desk) apply(t *testing.T, e translator.Event) {
	t.Helper()
	outcome, err := d.world.Apply([]translator.Event{e})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []*StatusWriter{d.writer, d.follower} {
		for _, s := range outcome.Statuses {
			w.Set(s)
		}
		for _, o := range outcome.Forgotten {
			w.Forget(o)
		}
	}
}

func (d *desk) route(name string) *gwapiv1.HTTPRoute {
	return &gwapiv1.HTTPRoute{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: d.namespace},
		Spec: gwapiv1.HTTPRouteSpec{
			CommonRouteSpec: gwapiv1.CommonRouteSpec{ParentRefs: []gwapiv1.ParentReference{{Name: "gw"}}},
			Hostnames:       []gwapiv1.Hostname{gwapiv1.Hostname(name + ".example.com")},
		},
	}
}

func (d *desk) get(t *testing.T, name string, o client.Object) {
	t.Helper()
	if err := d.Get(t.Context(), client.ObjectKey{Namespace: d.namespace, Name: name}, o); err != nil {
		t.Fatal(err)
	}
}

// writes counts the statuses of a kind that were written.
func (d *desk) writes(t *testing.T, kind string) (n int) {
	t.Helper()
	families, err := d.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["kind"] == kind && labels["result"] == "success" {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

// waits reports whether this number of objects waits for an Envoy without reporting it.
func (d *desk) waits(want int) func() error {
	return func() error {
		d.writer.mu.Lock()
		defer d.writer.mu.Unlock()
		got := 0
		for _, e := range d.writer.entries {
			if !e.waiting.IsZero() {
				got++
			}
		}
		if got != want {
			return fmt.Errorf("%d objects wait, want %d", got, want)
		}
		return nil
	}
}

// becomes waits until the function returns no error.
func becomes(t *testing.T, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// TestCountsAreWrittenInSteps: while routes are created, each gets one write. The Gateway's count is written in
// intervals, not with every route, and is right soon after the last one.
func TestCountsAreWrittenInSteps(t *testing.T) {
	const step = 200 * time.Millisecond
	d := newDesk(t, 10*time.Millisecond, step, 0)
	const routes = 150
	start := time.Now()
	for i := range routes {
		d.store(t, d.route(fmt.Sprintf("r%d", i)))
	}
	becomes(t, func() error {
		gateway := &gwapiv1.Gateway{}
		d.get(t, "gw", gateway)
		if len(gateway.Status.Listeners) != 1 || gateway.Status.Listeners[0].AttachedRoutes != routes {
			return fmt.Errorf("listeners: %v", gateway.Status.Listeners)
		}
		return nil
	})
	const first = 2 // The first verdict, and a count that comes before the first step.
	most := first + int(time.Since(start)/step)
	if got := d.writes(t, "Gateway"); got > most || got < 2 {
		t.Errorf("%d writes on the Gateway in %v, want at most %d", got, time.Since(start), most)
	}
	becomes(t, func() error {
		if got := d.writes(t, "HTTPRoute"); got < routes {
			return fmt.Errorf("%d writes on %d routes", got, routes)
		}
		return nil
	})
	if got := d.writes(t, "HTTPRoute"); got != routes {
		t.Errorf("%d writes on %d routes", got, routes)
	}
}

// TestVerdictsDoNotWaitForCounts: a changed condition is written even if a count was written just before.
func TestVerdictsDoNotWaitForCounts(t *testing.T) {
	d := newDesk(t, 10*time.Millisecond, time.Hour, 0)
	gateway := &gwapiv1.Gateway{}
	becomes(t, func() error {
		if d.get(t, "gw", gateway); len(gateway.Status.Listeners) == 0 {
			return fmt.Errorf("no status yet")
		}
		return nil
	})
	d.store(t, d.route("r"))
	gateway.Spec.Listeners = append(gateway.Spec.Listeners, gwapiv1.Listener{
		Name:     "more",
		Protocol: gwapiv1.HTTPProtocolType, Port: 81,
	})
	d.store(t, gateway)
	becomes(t, func() error {
		now := &gwapiv1.Gateway{}
		if d.get(t, "gw", now); len(now.Status.Listeners) != 2 || now.Status.Listeners[0].AttachedRoutes != 1 {
			return fmt.Errorf("listeners: %v", now.Status.Listeners)
		}
		return nil
	})
}

// TestWaitingIsToldWhenItLasts: if a Gateway waits for an Envoy only because something else on it changed, this is not
// written unless it lasts. A Gateway that was changed itself reports at once that it waits. A new leader is patient for
// longer.
func TestWaitingIsToldWhenItLasts(t *testing.T) {
	programmed := func(status metav1.ConditionStatus, reason gwapiv1.GatewayConditionReason) *gwapiv1.GatewayStatus {
		return &gwapiv1.GatewayStatus{Conditions: []metav1.Condition{{
			Type: "Programmed", Status: status,
			Reason: string(reason),
		}}}
	}
	for _, c := range []struct {
		patience, handover time.Duration
		lasts              bool
	}{
		{time.Hour, 0, false},
		{time.Millisecond, time.Hour, false},
		{time.Millisecond, time.Millisecond, true},
	} {
		d := newDesk(t, time.Millisecond, time.Millisecond, c.patience)
		d.writer.mu.Lock()
		d.writer.handover = c.handover
		d.writer.mu.Unlock()
		gateway := &gwapiv1.Gateway{}
		say := func(desired *gwapiv1.GatewayStatus) {
			d.get(t, "gw", gateway)
			d.writer.Set(&translator.Status{Object: gateway.DeepCopy(), Desired: desired})
		}
		is := func(want metav1.ConditionStatus, generation int64) {
			t.Helper()
			becomes(t, func() error {
				d.get(t, "gw", gateway)
				if c := meta.FindStatusCondition(gateway.Status.Conditions, "Programmed"); c == nil || c.Status != want ||
					c.ObservedGeneration != generation {
					return fmt.Errorf("Programmed is %v, want %s of generation %d", c, want, generation)
				}
				return nil
			})
		}
		say(programmed(metav1.ConditionTrue, gwapiv1.GatewayReasonProgrammed))
		is(metav1.ConditionTrue, 1)
		before := gateway.ResourceVersion
		say(programmed(metav1.ConditionFalse, gwapiv1.GatewayReasonPending))
		if c.lasts {
			is(metav1.ConditionFalse, 1)
			continue
		}
		becomes(t, d.waits(1))
		say(programmed(metav1.ConditionTrue, gwapiv1.GatewayReasonProgrammed))
		becomes(t, d.waits(0))
		if is(metav1.ConditionTrue, 1); gateway.ResourceVersion != before {
			t.Error("what was over at once is written")
		}
		d.get(t, "gw", gateway)
		gateway.Spec.Listeners = append(gateway.Spec.Listeners, gwapiv1.Listener{
			Name:     "more",
			Protocol: gwapiv1.HTTPProtocolType, Port: 81,
		})
		if err := d.Update(t.Context(), gateway); err != nil {
			t.Fatal(err)
		}
		say(programmed(metav1.ConditionFalse, gwapiv1.GatewayReasonPending))
		is(metav1.ConditionFalse, 2)
	}
}

// TestStatusUnderChurn: a route that changes faster than its status is written always has conditions that are true for
// their generation. Conditions of another controller never change. In the end the last generation is judged.
func TestStatusUnderChurn(t *testing.T) {
	d := newDesk(t, 20*time.Millisecond, 20*time.Millisecond, 0)
	route := d.route("r")
	d.store(t, route)
	theirs := gwapiv1.RouteParentStatus{
		ParentRef: gwapiv1.ParentReference{Name: "theirs"}, ControllerName: "example.com/other",
		Conditions: []metav1.Condition{{
			Type: "Accepted", Status: "False", Reason: "Theirs", Message: "not ours",
			ObservedGeneration: 1, LastTransitionTime: metav1.Unix(1e9, 0),
		}},
	}
	becomes(t, func() error { // Our writer writes at the same time.
		d.get(t, "r", route)
		route.Status.Parents = append(route.Status.Parents, theirs)
		return d.Status().Update(t.Context(), route)
	})
	theirs = route.Status.Parents[len(route.Status.Parents)-1] // With the API server's defaults.
	// A rule of an odd generation has a regular expression that is none.
	odd := gwapiv1.PathMatchRegularExpression
	judge := func() (observed int64) {
		d.get(t, "r", route)
		for _, p := range route.Status.Parents {
			if p.ControllerName != controllerName {
				if diff := cmp.Diff(theirs, p); diff != "" {
					t.Errorf("another controller's entry (-want +got):\n%s", diff)
				}
				continue
			}
			accepted := meta.FindStatusCondition(p.Conditions, "Accepted")
			want := metav1.ConditionTrue
			if observed = accepted.ObservedGeneration; observed%2 == 1 && observed > 1 {
				want = metav1.ConditionFalse
			}
			if accepted.Status != want || observed > route.Generation {
				t.Errorf("Accepted is %s of generation %d, the route is of generation %d", accepted.Status, observed,
					route.Generation)
			}
			if slices.ContainsFunc(p.Conditions, func(c metav1.Condition) bool { return c.ObservedGeneration != observed }) {
				t.Errorf("conditions of several generations: %v", p.Conditions)
			}
		}
		return observed
	}
	for i := range 60 {
		becomes(t, func() error { // The writer may have written since.
			judge()
			route.Spec.Rules = []gwapiv1.HTTPRouteRule{{}}
			if (route.Generation+1)%2 == 1 {
				value := fmt.Sprintf("/(%d", i)
				route.Spec.Rules[0].Matches = []gwapiv1.HTTPRouteMatch{{Path: &gwapiv1.HTTPPathMatch{Type: &odd, Value: &value}}}
			}
			return d.Update(t.Context(), route)
		})
		d.judge(t, route)
	}
	becomes(t, func() error {
		if observed := judge(); observed != route.Generation || len(route.Status.Parents) != 2 {
			return fmt.Errorf("generation %d is judged of %d; entries %v", observed, route.Generation, route.Status.Parents)
		}
		return nil
	})
	route.Spec.ParentRefs = nil
	d.store(t, route)
	becomes(t, func() error {
		if d.get(t, "r", route); len(route.Status.Parents) != 1 || route.Status.Parents[0].ControllerName == controllerName {
			return fmt.Errorf("without parentRefs there are still %v", route.Status.Parents)
		}
		return nil
	})
}

// follow reports each change of a route to the writer as informers do, until the test ends.
func (d *desk) follow(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		version := ""
		for ctx.Err() == nil {
			route := &gwapiv1.HTTPRoute{}
			if err := d.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: name}, route); err == nil &&
				route.ResourceVersion != version {
				version = route.ResourceVersion
				d.writer.Seen(translator.Event{Object: route})
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// TestWipedStatusIsRestored: a status that somebody else has removed is restored; while somebody keeps removing it, it
// is restored with growing delays.
func TestWipedStatusIsRestored(t *testing.T) {
	d := newDesk(t, time.Millisecond, time.Millisecond, 0)
	route := d.route("wiped")
	d.store(t, route)
	has := func() error {
		d.get(t, "wiped", route)
		if len(route.Status.Parents) == 0 {
			return errors.New("the route has no status")
		}
		return nil
	}
	becomes(t, has)
	d.follow(t, "wiped")
	wipes := 0
	wipe := func() {
		d.get(t, "wiped", route)
		if len(route.Status.Parents) == 0 {
			return
		}
		route.Status.Parents = []gwapiv1.RouteParentStatus{}
		if err := d.Status().Update(t.Context(), route); err == nil {
			wipes++
		}
	}
	wipe()
	becomes(t, has)
	before, start := d.writes(t, "HTTPRoute"), time.Now()
	for time.Since(start) < 4*firstRestore {
		wipe()
	}
	if got := d.writes(t, "HTTPRoute") - before; got > 3 || got < 1 { // After 1, 2 and 4 times firstRestore at most.
		t.Errorf("while another writer wiped a status %d times, it was restored %d times", wipes, got)
	}
	becomes(t, has)
}
