package translator

import (
	"reflect"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/crdtest"
	"gatehouse/translator/flow"
)

// crds are those of all kinds that the translation reads, from Gateway API's module and from our chart.
var crds = sync.OnceValues(func() ([]*crdtest.Kind, error) { return crdtest.Kinds(translated) })

// translated reports whether the translation has a table for a kind.
func translated(kind schema.GroupVersionKind) bool {
	made, err := testScheme.New(kind)
	if err != nil {
		return false // Kinds that Go programs do not know either.
	}
	_, ok := declareInputs(flow.NewGraph()).byType[reflect.TypeOf(made)]
	return ok
}

// fromSchema makes a random object of a kind whose CRD admits it; nil if several tries made none.
func (h *history) fromSchema(k *crdtest.Kind) Object {
	maker := &crdtest.Maker{Rand: h.Rand, Words: words}
	for range 12 {
		m := h.meta(h.namespace(), pick(h, words["name"]...))
		if k.Kind == "GatewayClass" {
			m = h.meta("", "c")
		}
		spec := maker.Spec(k)
		if h.IntN(4) > 0 {
			h.aim(k, spec)
		}
		object := k.Object(m.Namespace, m.Name, spec)
		if !k.AdmitsSome(object) {
			continue
		}
		made, err := k.Typed(object, testScheme)
		if err != nil {
			continue
		}
		o := made.(Object)
		o.SetUID(m.UID)
		o.SetGeneration(m.Generation)
		o.SetCreationTimestamp(m.CreationTimestamp)
		o.SetLabels(m.Labels)
		return o
	}
	return nil
}

// aim gives a policy a target that its CRD admits. What is random hardly ever is one.
func (h *history) aim(k *crdtest.Kind, spec any) {
	made, ok := spec.(map[string]any)
	if _, targets := k.Schema.Properties["spec"].Properties["targetSelectors"]; !ok || !targets {
		return
	}
	delete(made, "targetRef")
	delete(made, "targetSelectors")
	kind := "HTTPRoute"
	if h.IntN(2) > 0 {
		kind = "Gateway"
		delete(made, "mergeType") // It is for routes only.
	}
	made["targetRefs"] = []any{map[string]any{"group": gwapiv1.GroupName, "kind": kind, "name": pick(h, words["name"]...)}}
}

// words are values for strings by the name of their field, so that objects refer to each other and paths are paths.
var words = map[string][]string{
	"name":             {"s1", "s2", "g1", "g2", "r1", "r2", "l0", "l1", "p", "s", "c", "x-a", "Accept"},
	"namespace":        {"n1", "n2"},
	"gatewayClassName": {"c"},
	"controllerName":   {controllerName},
	"kind": {
		"Service", "Secret", "ConfigMap", "Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute",
		"TCPRoute", "UDPRoute", "EnvoyProxy", "Backend",
	},
	"group":             {"", "gateway.networking.k8s.io", "gateway.envoyproxy.io"},
	"sectionName":       {"l0", "l1", "rule"},
	"address":           {"10.1.0.1", "fd00:1::1", "127.0.0.1"},
	"hostname":          {"a.example.com", "*.example.com", "b.example.com"},
	"hostnames":         {"a.example.com", "*.example.com", "x.a.example.com"},
	"protocol":          {"HTTP", "HTTPS", "TLS", "TCP", "UDP"},
	"value":             {"/", "/a", "/a/b", "/(", "a", "10.98.0.9", "%REQ(x)%", "a b", "[0-9]+"},
	"regularExpression": {"a+", "(", "[0-9]+"},
}

// TestRandomObjectsAreStored: the CRD of every kind admits some of what is made at random, or the fuzz below would find
// nothing.
func TestRandomObjectsAreStored(t *testing.T) {
	kinds, err := crds()
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(1)
	for _, c := range kinds {
		made := 0
		for range 40 {
			if h.fromSchema(c) != nil {
				made++
			}
		}
		t.Logf("%s: %d of 40", c.Kind, made)
		if made == 0 {
			t.Errorf("no %s was made that its CRD admits", c.Kind)
		}
	}
}
