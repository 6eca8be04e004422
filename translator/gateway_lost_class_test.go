package translator

import (
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const classed = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, namespace: default, name: six}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {namespace: default, name: six}
spec: {ipFamily: IPv6}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: default, name: gw}
spec: {gatewayClassName: eg, listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: default, name: a}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: default, name: r}
spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: a, port: 80}]}]}
`

// change is what one event makes of a world.
func change(t *testing.T, w *World, o Object, deleted bool) Outcome {
	t.Helper()
	outcome, err := w.Apply([]Event{{Object: o, Deleted: deleted}})
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

// gone reports whether an outcome takes the fleet of Gateway default/gw away.
func gone(o Outcome) bool {
	required, changed := o.Requirements["default/gw"]
	for _, d := range o.Deltas {
		if d.Gone {
			return true
		}
	}
	return changed && required == nil
}

// TestLostClassEndsNoTraffic: a class that is deleted, or created again for another controller, takes nothing away from
// the Gateways that have it: their fleets stay and follow what the class said last, and nothing is written to them.
// They go when they are deleted themselves.
func TestLostClassEndsNoTraffic(t *testing.T) {
	for _, name := range []string{"deleted", "another controller's"} {
		t.Run(name, func(t *testing.T) {
			w, objects := newWorld(t), decode(t, []byte(classed[1:]))
			for _, o := range objects {
				change(t, w, o, false)
			}
			class, gateway := objects[0].(*gwapiv1.GatewayClass), objects[2].(*gwapiv1.Gateway)
			taken := class.DeepCopy()
			taken.UID, taken.Spec.ControllerName = "another", "example.com/other"
			outcome := change(t, w, taken, name == "deleted")
			if gone(outcome) || len(outcome.Deltas) > 0 {
				t.Errorf("the Envoys lose their configuration: %+v", outcome.Deltas)
			}
			for _, s := range outcome.Statuses {
				if s.Object == Object(gateway) && s.encoded != "null" {
					t.Errorf("the status of the Gateway is written: %s", s.encoded)
				}
			}
			later := gateway.DeepCopy()
			later.Generation, later.Spec.Listeners[0].Port = 2, 8080
			outcome = change(t, w, later, false)
			if required := outcome.Requirements["default/gw"]; required == nil || required.Ports[0].Port != 8080 ||
				required.EnvoyProxy == nil {
				t.Errorf("the changed Gateway requires %+v", required)
			}
			if outcome = change(t, w, later, true); !gone(outcome) {
				t.Error("the fleet of the deleted Gateway stays")
			}
			if outcome = change(t, w, later, false); len(outcome.Deltas) > 0 {
				t.Errorf("a new Gateway gets the class of its predecessor: %+v", outcome.Deltas)
			}
			if outcome = change(t, w, class, false); outcome.Requirements["default/gw"] == nil {
				t.Error("the Gateway does not come back with its class")
			}
		})
	}
}

// TestClassesInUse: a class is in use while Gateways name it, whatever is wrong with them. Its use is reported when it
// is deleted, and when it is created again.
func TestClassesInUse(t *testing.T) {
	w, objects := newWorld(t), decode(t, []byte(classed[1:]))
	class, gateway := objects[0], objects[2]
	again := class.DeepCopyObject().(Object)
	again.SetUID("again")
	others := again.(*gwapiv1.GatewayClass).DeepCopy()
	others.Spec.ControllerName = "example.com/other"
	for i, step := range []struct {
		o       Object
		deleted bool
		told    bool
		use     ClassUse
	}{
		{o: class, told: true, use: ClassUnused},
		{o: gateway, told: true, use: ClassUsed},
		{o: objects[3]},
		{o: class, deleted: true, told: true, use: ClassGone},
		{o: again, told: true, use: ClassUsed},
		{o: gateway, deleted: true, told: true, use: ClassUnused},
		{o: others, told: true, use: ClassGone},
		{o: others, deleted: true},
	} {
		use, told := change(t, w, step.o, step.deleted).Classes["eg"]
		if told != step.told || use != step.use {
			t.Errorf("step %d: told %v of use %v, want %v and %v", i, told, use, step.told, step.use)
		}
	}
}
