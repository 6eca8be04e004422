package translator

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/api/crdtest"
	"gatehouse/policies"
	"gatehouse/policies/verdict"
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
		if err == nil && h.IntN(4) > 0 {
			made, err = mended(k, object, made)
		}
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

// mended is a policy without the parts of its spec that its features refuse, so that the others are translated.
func mended(k *crdtest.Kind, object map[string]any, made runtime.Object) (runtime.Object, error) {
	at := kindIndex(k.Kind)
	p, ok := made.(policies.Object)
	if !ok || at < 0 || policies.Kinds[at].Unserved {
		return made, nil
	}
	spec := object["spec"].(map[string]any)
	for {
		left := len(spec)
		for _, problem := range policies.Kinds[at].Check(p) {
			if path := strings.FieldsFunc(problem.Field, func(c rune) bool { return c == '.' || c == '[' }); problem.Weight == verdict.Invalid && len(path) > 1 {
				delete(spec, path[1])
			}
		}
		if len(spec) == left {
			return p, nil
		}
		if !k.AdmitsSome(object) {
			return nil, fmt.Errorf("the CRD does not admit what is left of %v", object)
		}
		typed, err := k.Typed(object, testScheme)
		if err != nil {
			return nil, err
		}
		p = typed.(policies.Object)
	}
}

// TestRandomPoliciesAreTranslated: random policies of each served kind take effect often enough for the fuzz with a real Envoy.
func TestRandomPoliciesAreTranslated(t *testing.T) {
	made, effective := map[string]int{}, map[string]int{}
	for seed := range uint64(12) {
		h := newHistory(seed)
		w, events := h.world(t), h.opening()
		for range 60 {
			events = append(events, h.store(h.object()))
		}
		if _, err := w.Apply(events); err != nil {
			t.Fatal(err)
		}
		for _, row := range w.tables.policies.All(w.engine.Read()) {
			made[row.Value.Kind.Kind]++
			if !row.Value.Broken {
				effective[row.Value.Kind.Kind]++
			}
		}
	}
	t.Logf("of %v, %v can take effect", made, effective)
	for _, kind := range policies.Kinds {
		if !kind.Unserved && effective[kind.Kind] < made[kind.Kind]/4 {
			t.Errorf("of %d policies of kind %s, only %d can take effect", made[kind.Kind], kind.Kind, effective[kind.Kind])
		}
	}
}

// aim gives a policy a target that its CRD admits. What is random hardly ever is one.
func (h *history) aim(k *crdtest.Kind, spec any) {
	made, ok := spec.(map[string]any)
	at := kindIndex(k.Kind)
	if _, targets := k.Schema.Properties["spec"].Properties["targetSelectors"]; !ok || !targets || at < 0 {
		return
	}
	delete(made, "targetRef")
	delete(made, "targetSelectors")
	kinds := policies.Kinds[at].TargetKinds()
	kind := kinds[h.IntN(len(kinds))]
	name := map[string]string{"Gateway": "g", "ListenerSet": "ls"}[kind.Kind]
	if name == "" {
		name = "r"
	} else {
		delete(made, "mergeType") // It is for routes only.
	}
	made["targetRefs"] = []any{map[string]any{"group": kind.Group, "kind": kind.Kind, "name": pick(h, name+"1", name+"2")}}
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
