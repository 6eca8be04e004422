package translator

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies"
	"gatehouse/policies/certificate"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// routesOfAllKinds is a route of each kind on a listener of its protocol, and one on a listener of a ListenerSet. Each
// sends to a Service of its own name.
const routesOfAllKinds = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: web}
spec:
  gatewayClassName: eg
  allowedListeners: {namespaces: {from: Same}}
  listeners:
  - {name: requests, protocol: HTTP, port: 80}
  - {name: calls, protocol: HTTP, port: 81}
  - {name: secure, protocol: TLS, port: 443, tls: {mode: Passthrough}}
  - {name: streams, protocol: TCP, port: 90}
  - {name: datagrams, protocol: UDP, port: 91}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {namespace: shop, name: more}
spec: {parentRef: {name: web}, listeners: [{name: others, protocol: HTTP, port: 82}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: shop, name: requests}
spec: {parentRefs: [{name: web, sectionName: requests}], rules: [{name: all, backendRefs: [{name: requests, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: shop, name: others}
spec: {parentRefs: [{kind: ListenerSet, name: more}], rules: [{name: all, backendRefs: [{name: others, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {namespace: shop, name: calls}
spec: {parentRefs: [{name: web, sectionName: calls}], rules: [{name: all, backendRefs: [{name: calls, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {namespace: shop, name: secure}
spec: {parentRefs: [{name: web, sectionName: secure}], hostnames: [secure.test], rules: [{name: all, backendRefs: [{name: secure, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {namespace: shop, name: streams}
spec: {parentRefs: [{name: web, sectionName: streams}], rules: [{name: all, backendRefs: [{name: streams, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {namespace: shop, name: datagrams}
spec: {parentRefs: [{name: web, sectionName: datagrams}], rules: [{name: all, backendRefs: [{name: datagrams, port: 80}]}]}
`

// routesByListener are the routes of routesOfAllKinds with their kinds, by their names, which are those of their
// listeners too.
var routesByListener = map[string]string{
	"requests": "HTTPRoute", "others": "HTTPRoute", "calls": "GRPCRoute", "secure": "TLSRoute", "streams": "TCPRoute",
	"datagrams": "UDPRoute",
}

// place is a target in the scene of all kinds of routes, with the routes that a policy on it covers.
type place struct {
	policies.Target
	covers []string
}

// placesFor are all targets for a kind of policy, and sections of them.
func placesFor(kind policies.Kind) (places []place) {
	add := func(target, name, section string, covers ...string) {
		if slices.Contains(kind.Targets, target) {
			places = append(places, place{policies.Target{Kind: target, Namespace: "shop", Name: name, Section: section}, covers})
		}
	}
	var all []string
	for name, route := range routesByListener {
		all = append(all, name)
		add(route, name, "", name)
		add(route, name, "all", name)
		if name != "others" {
			add("Gateway", "web", name, name)
		}
	}
	add("Gateway", "web", "", all...)
	add("ListenerSet", "more", "", "others")
	add("ListenerSet", "more", "others", "others")
	return places
}

// asked is a need for something, and what meets it: an object or fetched content. If both are nil, it is the configuration,
// which does not change.
type asked struct {
	need    feature.Need
	object  Object
	fetched *Fetched
}

// allAsked are a need of each kind, by the field of feature.Need that it sets.
func allAsked() map[string]asked {
	filled := func(content []byte) error {
		if string(content) != "filled" {
			return errors.New("is not filled")
		}
		return nil
	}
	secret := &gwapiv1.SecretObjectReference{Name: "needed"}
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "needed"}
	fetch := &feature.Fetch{URL: "https://needed.test/", Form: "a text", Check: filled, MaxBytes: 10, Refresh: time.Hour}
	return map[string]asked{
		"Content": {
			need:   feature.Need{Content: feature.SecretContent(secret, "key", filled)},
			object: &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"key": []byte("filled")}},
		},
		"Credential": {
			need:   feature.Need{Credential: feature.SecretContent(secret, "key", filled)},
			object: &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"key": []byte("filled")}},
		},
		"Backend": {
			need: feature.Need{Backend: feature.OneBackend(gwapiv1.BackendObjectReference{
				Name: "needed", Port: ptr[gwapiv1.PortNumber](80),
			})},
			object: &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
				Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
			}},
		},
		"Certificate": {
			need:   feature.Need{Certificate: secret},
			object: &corev1.Secret{ObjectMeta: meta, Type: corev1.SecretTypeTLS, Data: pairs[0]},
		},
		"Authorities": {
			need: feature.Need{Authorities: &feature.Authorities{Refs: []verdict.Ref{{Kind: "Secret", Name: "needed"}}}},
			object: &corev1.Secret{
				ObjectMeta: meta, Data: map[string][]byte{certificate.AuthoritiesKey: pairs[0][corev1.TLSCertKey]},
			},
		},
		"Limits": {need: feature.Need{Limits: &feature.GlobalLimits{}}},
		"Fetch": {
			need:    feature.Need{Fetch: fetch},
			fetched: &Fetched{Key: fetch.Key(), Content: []byte("filled")},
		},
	}
}

// TestEveryNeedIsAsked: there is a need of each kind that features can have.
func TestEveryNeedIsAsked(t *testing.T) {
	for field := range reflect.TypeFor[feature.Need]().Fields() {
		if _, ok := allAsked()[field.Name]; field.Type.Kind() == reflect.Pointer && !ok {
			t.Errorf("no test takes away what a need for %s asks for", field.Name)
		}
	}
}

// TestNeedsFailClosedEverywhere has policies of each kind need something of each kind, on each target that they can
// have. While it is missing, nothing that the target has is forwarded, and everything else is.
func TestNeedsFailClosedEverywhere(t *testing.T) {
	scene := decode(t, []byte(strings.TrimSpace(routesOfAllKinds)))
	for name := range routesByListener {
		protocol := corev1.ProtocolTCP
		if name == "datagrams" {
			protocol = corev1.ProtocolUDP
		}
		scene = append(scene, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, Protocol: protocol}}},
		})
	}
	for _, kind := range policies.Kinds {
		if kind.Unserved {
			continue // Nothing that its policies cover is served anyway.
		}
		for what, a := range allAsked() {
			for _, at := range placesFor(kind) {
				t.Run(fmt.Sprintf("%s/%s/%s", kind.Kind, what, at.Target), func(t *testing.T) {
					failsClosedAt(t, scene, kind, a, at)
				})
			}
		}
	}
}

func failsClosedAt(t *testing.T, scene []Object, kind policies.Kind, a asked, at place) {
	w := newWorld(t)
	a.need.Field = "needed"
	w.tables.needs = func(k policies.Kind, p policies.Object) []feature.Need {
		if k.Kind != kind.Kind {
			return k.Needs(p)
		}
		return []feature.Need{a.need}
	}
	var events []Event
	for _, o := range scene {
		events = append(events, Event{Object: o})
	}
	if _, err := w.Apply(events); err != nil {
		t.Fatal(err)
	}
	wantForwarded(t, w, "without a policy")
	policy := kind.New()
	policy.SetNamespace("shop")
	policy.SetName("needs")
	*policy.GetTargets() = wholeTarget(at.Kind, at.Name)
	if at.Section != "" {
		policy.GetTargets().TargetRefs[0].SectionName = ptr(gwapiv1.SectionName(at.Section))
	}
	change(t, w, policy, false)
	wantForwarded(t, w, "while it is missing", at.covers...)
	if a.object == nil && a.fetched == nil {
		return
	}
	give := func(gone bool) {
		if a.object == nil {
			report(t, w, a.fetched, gone)
		} else {
			change(t, w, a.object, gone)
		}
	}
	give(false)
	wantForwarded(t, w, "while it is there")
	give(true)
	wantForwarded(t, w, "after it is gone", at.covers...)
}

// wantForwarded compares the Services that routes and listeners send to with all but some.
func wantForwarded(t *testing.T, w *World, when string, without ...string) {
	t.Helper()
	var sends strings.Builder
	for _, r := range w.all("shop/web") {
		if r.Type == typeCluster || r.Type == typeEndpoints {
			continue // They may stay while nothing is sent there.
		}
		sends.Write(r.Body())
	}
	for name := range routesByListener {
		got := strings.Contains(sends.String(), "service/shop/"+name+"/")
		if want := !slices.Contains(without, name); got != want {
			t.Errorf("%s, route %q is served: %t", when, name, got)
		}
	}
}

// TestNeedsOfFiltersFailClosed has a rule with each filter that refers to a backend. While it is missing, the rule is
// not served, unless the filter can do without.
func TestNeedsOfFiltersFailClosed(t *testing.T) {
	tried := 0
	for field := range reflect.TypeFor[gwapiv1.HTTPRouteFilter]().Fields() {
		if field.Type.Kind() != reflect.Pointer {
			continue
		}
		filter := gwapiv1.HTTPRouteFilter{Type: gwapiv1.HTTPRouteFilterType(field.Name)}
		value := reflect.New(field.Type.Elem())
		reflect.ValueOf(&filter).Elem().FieldByIndex(field.Index).Set(value)
		if ref := value.Elem().FieldByName("BackendRef"); ref.IsValid() {
			ref.Set(reflect.ValueOf(gwapiv1.BackendObjectReference{Name: "needed", Port: ptr[gwapiv1.PortNumber](80)}))
		}
		if filter.ExternalAuth != nil {
			filter.ExternalAuth.ExternalAuthProtocol = gwapiv1.HTTPRouteExternalAuthHTTPProtocol
		}
		rule := &feature.Rule{HTTPRouteRule: gwapiv1.HTTPRouteRule{Filters: []gwapiv1.HTTPRouteFilter{filter}}}
		for _, need := range policies.NeedsOfRule(rule) {
			tried++
			t.Run(field.Name, func(t *testing.T) { filterFailsClosed(t, filter, need.Optional) })
		}
	}
	if tried == 0 {
		t.Error("no filter needs anything")
	}
}

func filterFailsClosed(t *testing.T, filter gwapiv1.HTTPRouteFilter, optional bool) {
	w := newWorld(t)
	for _, o := range decode(t, []byte(strings.TrimSpace(protected))) {
		if route, ok := o.(*gwapiv1.HTTPRoute); ok {
			route.Spec.Rules[0].Filters = []gwapiv1.HTTPRouteFilter{filter}
		}
		change(t, w, o, false)
	}
	needed := allAsked()["Backend"].object
	for _, gone := range []bool{true, false, true} {
		change(t, w, needed, gone)
		if served := forwards(t, w, "shop/web"); served == gone && !optional {
			t.Errorf("the rule is served: %t, and what it needs is gone: %t", served, gone)
		}
	}
}
