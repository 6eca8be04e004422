package translator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// pathPolicy is a policy on the Gateway of benchWorld, or on one of its listeners.
func pathPolicy(listener string, action v1alpha1.PathEscapedSlashAction,
	generation int64,
) *v1alpha1.ClientTrafficPolicy {
	name := "clients" + listener
	p := &v1alpha1.ClientTrafficPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, Generation: generation}}
	target := gwapiv1.LocalPolicyTargetReferenceWithSectionName{}
	target.Group, target.Kind, target.Name = gwapiv1.GroupName, "Gateway", "g"
	if listener != "" {
		target.SectionName = ptr(gwapiv1.SectionName(listener))
	}
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{target}
	p.Spec.Path = &v1alpha1.PathSettings{EscapedSlashesAction: &action}
	return p
}

// TestPolicyOfListenersComputesNoRoute: a policy of listeners that comes to a Gateway with 1,000 routes, changes and
// goes changes Envoy's listeners only. Nothing that is made of listeners or routes is computed for it, apart from
// these.
func TestPolicyOfListenersComputesNoRoute(t *testing.T) {
	w := benchWorld(t, 1000)
	for _, step := range []struct {
		what  string
		event Event
	}{
		{"new policy", Event{Object: pathPolicy("", v1alpha1.RejectRequestAction, 1)}},
		{"changed policy", Event{Object: pathPolicy("", v1alpha1.KeepUnchangedAction, 2)}},
		{"deleted policy", Event{Object: pathPolicy("", v1alpha1.KeepUnchangedAction, 2), Deleted: true}},
	} {
		outcome, err := w.Apply([]Event{step.event})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := changedNames(outcome), []string{"Listener n/g/http", "Listener n/g/https"}; !slices.Equal(got, want) {
			t.Errorf("%s: changed %v, want %v", step.what, got, want)
		}
		work := computed(w)
		for _, table := range []string{
			"listeners", "parents", "rules", "all bindings", "bindings", "virtual hosts",
			"route configurations", "clusters",
		} {
			if work[table] > 0 {
				t.Errorf("%s: %d rows of %s are computed", step.what, work[table], table)
			}
		}
		for table, rows := range work {
			if rows > 5 {
				t.Errorf("%s: %d rows of %s are computed", step.what, rows, table)
			}
		}
	}
}

// changedNames are the types and names of the resources that an outcome changes, sorted.
func changedNames(outcome Outcome) (names []string) {
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			names = append(names, r.Type[strings.LastIndex(r.Type, ".")+1:]+" "+r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestPolicyDrainsItsListenersAlone: Envoy closes the connections of a filter chain that changes. A policy on one
// listener changes no byte of the filter chains of others, on its port or on another one, and a broken one changes no
// filter chain.
func TestPolicyDrainsItsListenersAlone(t *testing.T) {
	w := newWorld(t)
	events := benchEvents(1)
	gateway := events[1].Object.(*gwapiv1.Gateway)
	two := gateway.Spec.Listeners[1]
	two.Name, two.Hostname = "two", ptr(gwapiv1.Hostname("*.example.com"))
	gateway.Spec.Listeners = append(gateway.Spec.Listeners, two)
	outcome, err := w.Apply(events)
	if err != nil {
		t.Fatal(err)
	}
	before := chains(t, outcome)
	if got := slices.Sorted(maps.Keys(before)); !slices.Equal(got, []string{"n/g/http", "n/g/https", "n/g/two"}) {
		t.Fatalf("filter chains are %v", got)
	}
	outcome = change(t, w, pathPolicy("two", v1alpha1.RejectRequestAction, 1), false)
	if got := changedNames(outcome); !slices.Equal(got, []string{"Listener n/g/https"}) {
		t.Errorf("changed %v, want the listener of port 443", got)
	}
	after := chains(t, outcome)
	if !proto.Equal(before["n/g/https"], after["n/g/https"]) || proto.Equal(before["n/g/two"], after["n/g/two"]) {
		t.Error("the policy changes another listener, or not its own")
	}
	broken := pathPolicy("two", "Unescape", 2)
	outcome = change(t, w, broken, false)
	if got := changedNames(outcome); !slices.Equal(got, []string{"Listener n/g/https", "RouteConfiguration n/g/two"}) {
		t.Errorf("changed %v, want the listener of port 443 and its closed routes", got)
	}
	for name, chain := range chains(t, outcome) {
		if !proto.Equal(before[name], chain) {
			t.Errorf("with a broken policy the filter chain %s is not as without", name)
		}
	}
}

// chains are the filter chains of the listeners that an outcome changes, by their names.
func chains(t *testing.T, outcome Outcome) map[string]*listenerv3.FilterChain {
	t.Helper()
	found := map[string]*listenerv3.FilterChain{}
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			if r.Type != typeListener {
				continue
			}
			m, err := unmarshal(r)
			if err != nil {
				t.Fatal(err)
			}
			l := m.(*listenerv3.Listener)
			for _, chain := range append(l.FilterChains, l.DefaultFilterChain) {
				if chain != nil {
					found[chain.Name] = chain
				}
			}
		}
	}
	return found
}

// sharedPort is a Gateway with two listeners on a port, and two ListenerSets with one each.
const sharedPort = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: edge}
spec:
  gatewayClassName: eg
  allowedListeners: {namespaces: {from: All}}
  listeners: [%s]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {namespace: shop, name: old, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {parentRef: {name: edge}, listeners: [{name: x, protocol: HTTP, port: 80, hostname: old.test}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {namespace: shop, name: young, creationTimestamp: "2026-02-01T00:00:00Z"}
spec: {parentRef: {name: edge}, listeners: [{name: x, protocol: HTTP, port: 80, hostname: young.test}]}
`

// TestWhoDecidesForAPort: policies on listeners that share a port, in which the named listeners are closed. The
// policies are written as target and action; each is younger than the one before it.
func TestWhoDecidesForAPort(t *testing.T) {
	const both, none = "{name: web, protocol: HTTP, port: 80, hostname: web.test}, {name: admin, protocol: HTTP, port: 80, hostname: admin.test}",
		"{name: other, protocol: HTTP, port: 8080}"
	for _, c := range []struct {
		what, listeners string
		policies        []string
		action          string
		closed          []string
	}{
		{"the whole Gateway", both, []string{"Gateway/edge RejectRequest"}, "REJECT_REQUEST", nil},
		{
			"one listener of the Gateway", both,
			[]string{"Gateway/edge/web RejectRequest"},
			"UNESCAPE_AND_REDIRECT",
			[]string{"shop/edge/web"},
		},
		{
			"the defaults, on one listener", both,
			[]string{"Gateway/edge/web UnescapeAndRedirect"},
			"UNESCAPE_AND_REDIRECT",
			nil,
		},
		{
			"two that agree", both,
			[]string{"Gateway/edge/web RejectRequest", "Gateway/edge/admin RejectRequest"},
			"REJECT_REQUEST", nil,
		},
		{
			"two that differ", both,
			[]string{"Gateway/edge/admin RejectRequest", "Gateway/edge/web KeepUnchanged"},
			"REJECT_REQUEST",
			[]string{"shop/edge/web"},
		},
		{
			"the whole and one listener", both,
			[]string{"Gateway/edge/web KeepUnchanged", "Gateway/edge RejectRequest"},
			"REJECT_REQUEST",
			[]string{"shop/edge/web"},
		},
		{
			"a ListenerSet beside the Gateway", both,
			[]string{"ListenerSet/old KeepUnchanged"},
			"UNESCAPE_AND_REDIRECT",
			[]string{"shop/edge/shop/old/x"},
		},
		{
			"a younger ListenerSet without a policy changes nothing", none,
			[]string{"ListenerSet/old KeepUnchanged"},
			"KEEP_UNCHANGED", nil,
		},
		{
			"a younger ListenerSet cannot change an older one", none,
			[]string{"ListenerSet/young KeepUnchanged"},
			"UNESCAPE_AND_REDIRECT",
			[]string{"shop/edge/shop/young/x"},
		},
		{
			"the policy of the older ListenerSet, not the older policy", none,
			[]string{"ListenerSet/young RejectRequest", "ListenerSet/old KeepUnchanged"},
			"KEEP_UNCHANGED",
			[]string{"shop/edge/shop/young/x"},
		},
		{
			"a ListenerSet cannot close one that the Gateway's policy covers", none,
			[]string{"Gateway/edge RejectRequest", "ListenerSet/old KeepUnchanged"},
			"REJECT_REQUEST",
			[]string{"shop/edge/shop/old/x"},
		},
		{
			"a broken policy decides nothing", none,
			[]string{"ListenerSet/old Guess", "ListenerSet/young KeepUnchanged"},
			"KEEP_UNCHANGED",
			[]string{"shop/edge/shop/old/x"},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newWorld(t)
			objects := decode(t, []byte(strings.TrimSpace(fmt.Sprintf(sharedPort, c.listeners))))
			for i, p := range c.policies {
				objects = append(objects, targeting(t, i, p))
			}
			var events []Event
			for _, o := range objects {
				events = append(events, Event{Object: o})
			}
			outcome, err := w.Apply(events)
			if err != nil {
				t.Fatal(err)
			}
			var closed []string
			for _, row := range w.tables.listenersTraits.All(w.engine.Read()) {
				if row.Value.Closed {
					closed = append(closed, row.Key)
				}
			}
			if diff := cmp.Diff(c.closed, closed); diff != "" {
				t.Errorf("closed listeners (-want +got):\n%s", diff)
			}
			port := ""
			for _, d := range outcome.Deltas {
				for _, r := range d.Changed {
					if text := string(asJSON(t, r)); r.Type == typeListener && !strings.Contains(text, `"portValue":8080`) {
						port += text
					}
				}
			}
			if !strings.Contains(port, `"pathWithEscapedSlashesAction":"`+c.action+`"`) {
				t.Errorf("port 80 does not have %s: %s", c.action, port)
			}
		})
	}
}

// targeting is a policy with a path action, written as kind/name[/section] and the action.
func targeting(t *testing.T, age int, written string) Object {
	t.Helper()
	target, action, _ := strings.Cut(written, " ")
	parts := append(strings.Split(target, "/"), "")
	section := ""
	if parts[2] != "" {
		section = ", sectionName: " + parts[2]
	}
	return decode(t, fmt.Appendf(nil, `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {namespace: shop, name: p%d, creationTimestamp: "2026-03-0%dT00:00:00Z"}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: %s, name: %s%s}]
  path: {escapedSlashesAction: %s}`, age, age+1, parts[0], parts[1], section, action))[0]
}
