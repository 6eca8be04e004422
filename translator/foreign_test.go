package translator

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/translator/status"
)

// shared are objects of every kind that has a status, with which another controller has to do too.
const shared = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: team, name: g}
spec:
  gatewayClassName: ours
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}
  - {name: tcp, port: 9000, protocol: TCP}
  - {name: udp, port: 9000, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {namespace: team, name: set}
spec:
  parentRef: {name: g}
  listeners:
  - {name: extra, port: 8080, protocol: HTTP}
  - {name: more, port: 8081, protocol: HTTP}
---
apiVersion: v1
kind: Service
metadata: {namespace: team, name: s}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80, protocol: TCP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: team, name: http}
spec:
  parentRefs: [{name: g, group: gateway.networking.k8s.io, kind: Gateway}]
  rules: [{backendRefs: [{name: s, port: 80, kind: Service, group: ""}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {namespace: team, name: grpc}
spec:
  parentRefs: [{name: g, group: gateway.networking.k8s.io, kind: Gateway}]
  hostnames: [grpc.example.com]
  rules: [{backendRefs: [{name: s, port: 80, kind: Service, group: ""}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {namespace: team, name: tls}
spec:
  parentRefs: [{name: g, group: gateway.networking.k8s.io, kind: Gateway}]
  hostnames: [tls.example.com]
  rules: [{backendRefs: [{name: s, port: 80, kind: Service, group: ""}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {namespace: team, name: tcp}
spec:
  parentRefs: [{name: g, group: gateway.networking.k8s.io, kind: Gateway}]
  rules: [{backendRefs: [{name: s, port: 80, kind: Service, group: ""}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {namespace: team, name: udp}
spec:
  parentRefs: [{name: g, group: gateway.networking.k8s.io, kind: Gateway}]
  rules: [{backendRefs: [{name: s, port: 80, kind: Service, group: ""}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {namespace: team, name: tls}
spec:
  targetRefs: [{group: "", kind: Service, name: s}]
  validation: {hostname: a.example.com, wellKnownCACertificates: System}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {namespace: team, name: traffic}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: http}]
  timeout: {http: {requestTimeout: 2s}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {namespace: team, name: security}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]
  cors: {allowOrigins: ["https://a.example.com"]}
`

// seed writes into a status what another controller has to say: a condition of its own first in every list, and an
// entry of its own first in lists of parents and ancestors, which speaks of our Gateway in our words.
func seed(o Object) {
	theirs := metav1.Condition{
		Type: "example.com/Theirs", Status: metav1.ConditionTrue, Reason: "Theirs",
		ObservedGeneration: 1, LastTransitionTime: metav1.Unix(1, 0),
	}
	accepted := theirs
	accepted.Type = "Accepted"
	gateway := gwapiv1.ParentReference{
		Group: new(gwapiv1.Group(gwapiv1.GroupName)), Kind: new(gwapiv1.Kind("Gateway")),
		Name: "g",
	}
	ancestor := gwapiv1.PolicyAncestorStatus{
		AncestorRef: gateway, ControllerName: "example.com/other",
		Conditions: []metav1.Condition{accepted},
	}
	first := func(list *[]metav1.Condition) { *list = append([]metav1.Condition{theirs}, *list...) }
	ancestors := func(list *[]gwapiv1.PolicyAncestorStatus) {
		for i := range *list {
			first(&(*list)[i].Conditions)
		}
		*list = append([]gwapiv1.PolicyAncestorStatus{ancestor}, *list...)
	}
	switch o := o.(type) {
	case *gwapiv1.GatewayClass:
		first(&o.Status.Conditions)
	case *gwapiv1.Gateway:
		first(&o.Status.Conditions)
		for i := range o.Status.Listeners {
			first(&o.Status.Listeners[i].Conditions)
		}
	case *gwapiv1.ListenerSet:
		first(&o.Status.Conditions)
		first(&o.Status.Listeners[1].Conditions)
	case *gwapiv1.BackendTLSPolicy:
		ancestors(&o.Status.Ancestors)
	case policies.Object:
		ancestors(&o.GetPolicyStatus().Ancestors)
	default:
		status := routeKindOf(o).status(o)
		for i := range status.Parents {
			first(&status.Parents[i].Conditions)
		}
		status.Parents = append([]gwapiv1.RouteParentStatus{{
			ParentRef: gateway, ControllerName: "example.com/other", Conditions: []metav1.Condition{accepted},
		}}, status.Parents...)
	}
}

// theirs is what in a status is another controller's, with where it stands. Entries of parents and ancestors that are
// ours are ours to take back, with all that is in them; whole leaves out what stands there.
func theirs(t *testing.T, o Object, whole bool) []string {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	var found []string
	var walk func(path string, node any)
	walk = func(path string, node any) {
		switch node := node.(type) {
		case map[string]any:
			switch {
			case node["controllerName"] == "example.com/other" || node["type"] == "example.com/Theirs":
				found = append(found, fmt.Sprintf("%s: %v", path, node))
			case node["controllerName"] != controllerName || !whole:
				for _, key := range []string{"status", "conditions", "listeners", "parents", "ancestors"} {
					walk(path+"."+key, node[key])
				}
			}
		case []any:
			for i, item := range node {
				at := fmt.Sprint(i)
				if named, ok := item.(map[string]any); ok && named["name"] != nil {
					at = fmt.Sprint(named["name"])
				}
				walk(path+"["+at+"]", item)
			}
		}
	}
	walk("", tree)
	return found
}

// stage is a world whose statuses are stored as soon as they come.
type stage struct {
	t       *testing.T
	world   *World
	objects map[string]Object
}

func newStage(t *testing.T, objects []Object) *stage {
	s := &stage{t, newWorld(t), map[string]Object{}}
	s.store(objects...)
	return s
}

// store stores objects, and all statuses that come of them until nothing comes any more.
func (s *stage) store(objects ...Object) {
	s.t.Helper()
	var events []Event
	for _, o := range objects {
		s.objects[nameOf(o)] = o
		events = append(events, Event{Object: o})
	}
	s.run(events...)
}

func (s *stage) run(events ...Event) {
	s.t.Helper()
	outcome, err := s.world.Apply(events)
	if err != nil {
		s.t.Fatal(err)
	}
	var written []Object
	for _, judged := range outcome.Statuses {
		if next, change := judged.Merge(controllerName, s.objects[nameOf(judged.Object)],
			metav1.Unix(9, 0)); change != status.Nothing {
			written = append(written, next)
		}
	}
	if len(written) > 0 {
		s.store(written...)
	}
}

// edit stores the Gateway with another spec.
func (s *stage) edit(change func(*gwapiv1.GatewaySpec)) {
	s.t.Helper()
	g := s.objects["Gateway team/g"].DeepCopyObject().(*gwapiv1.Gateway)
	g.Generation++
	change(&g.Spec)
	s.store(g)
}

func nameOf(o Object) string { return reflect.TypeOf(o).Elem().Name() + " " + keyOf(o) }

// TestStatusesOfOthersStay: what another controller has written into a status stays to the letter, and where it is,
// whatever comes of our own part of it: listeners change, a Gateway admits no ListenerSets any more, is another
// controller's, or is deleted.
func TestStatusesOfOthersStay(t *testing.T) {
	s := newStage(t, decode(t, []byte(shared)))
	var seeded []Object
	for key, o := range s.objects {
		if key != "Service team/s" {
			o = o.DeepCopyObject().(Object)
			seed(o)
			seeded = append(seeded, o)
		}
	}
	s.store(seeded...)
	for _, step := range []struct {
		name string
		do   func()
		// released reports whether our own entries are taken back.
		released bool
	}{
		{name: "they are stored", do: func() {}},
		{
			name: "a listener has another port",
			do:   func() { s.edit(func(g *gwapiv1.GatewaySpec) { g.Listeners[0].Port = 81 }) },
		},
		{
			name: "no ListenerSets are allowed",
			do:   func() { s.edit(func(g *gwapiv1.GatewaySpec) { g.AllowedListeners = nil }) },
		},
		{name: "no listener is served", do: func() {
			s.edit(func(g *gwapiv1.GatewaySpec) {
				for i := range g.Listeners {
					g.Listeners[i].Protocol = "example.com/unknown"
				}
			})
		}},
		{name: "the class is another one", released: true, do: func() {
			theirs := &gwapiv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "theirs", UID: "theirs", Generation: 1}}
			theirs.Spec.ControllerName = "example.com/other"
			s.run(Event{Object: theirs})
			s.edit(func(g *gwapiv1.GatewaySpec) { g.GatewayClassName = "theirs" })
		}},
		{name: "the Gateway is gone", released: true, do: func() {
			s.run(Event{
				Object:  s.objects["Gateway team/g"],
				Deleted: true,
			})
		}},
	} {
		step.do()
		for _, o := range seeded {
			want, got := theirs(t, o, step.released), theirs(t, s.objects[nameOf(o)], step.released)
			if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
				t.Errorf("%s: what others wrote into the status of %s (-want +got):\n%s", step.name, nameOf(o), diff)
			}
		}
	}
}

// TestEntriesOfASharedEnvoyProxy: the entries of an EnvoyProxy do not name their writers. Those for GatewayClasses and
// Gateways of another controller stay, and of the others those that nothing refers to any more go.
func TestEntriesOfASharedEnvoyProxy(t *testing.T) {
	s := newStage(t, decode(t, []byte(`apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: p, namespace: team}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs}
spec:
  controllerName: example.com/other
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: p, namespace: team}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: team}
spec:
  gatewayClassName: ours
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: p}}
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: p, namespace: team}
spec: {}
status:
  ancestors:
  - ancestorRef: {group: gateway.networking.k8s.io, kind: GatewayClass, name: theirs}
    conditions: [{type: Accepted, status: "False", reason: Theirs, message: "", lastTransitionTime: null}]
  - ancestorRef: {group: gateway.networking.k8s.io, kind: GatewayClass, name: gone}
    conditions: [{type: Accepted, status: "True", reason: Accepted, message: "", lastTransitionTime: null}]
`)))
	entries := func() (list []string) {
		for _, a := range s.objects["EnvoyProxy team/p"].(*v1alpha1.EnvoyProxy).Status.Ancestors {
			list = append(list, fmt.Sprintf("%s %s %s", *a.AncestorRef.Kind, a.AncestorRef.Name, a.Conditions[0].Reason))
		}
		return list
	}
	if diff := cmp.Diff([]string{"GatewayClass theirs Theirs", "GatewayClass ours Accepted", "Gateway g Accepted"},
		entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	s.edit(func(g *gwapiv1.GatewaySpec) { g.Infrastructure = nil })
	if diff := cmp.Diff([]string{"GatewayClass theirs Theirs", "GatewayClass ours Accepted"}, entries()); diff != "" {
		t.Errorf("entries after the Gateway has let go of it (-want +got):\n%s", diff)
	}
}
