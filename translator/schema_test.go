package translator

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	schemacel "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"gatehouse/translator/flow"
)

// crd is one kind as the API server would judge it: by the schema and the CEL rules of its CRD.
type crd struct {
	kind      runtimeschema.GroupVersionKind
	spec      schema.Structural
	whole     *schema.Structural
	validator validation.SchemaValidator
	cel       *schemacel.Validator
}

// crds are those of all kinds that the translation reads, from Gateway API's module and from our chart.
var crds = sync.OnceValues(func() ([]*crd, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		return nil, fmt.Errorf("find Gateway API's module: %w", err)
	}
	var all []*crd
	for _, pattern := range []string{filepath.Join(strings.TrimSpace(string(dir)), "config/crd/experimental/gateway.networking.k8s.io_*s.yaml"), "../manifests/gatehouse-crds/files/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("no CRDs at %s: %w", pattern, err)
		}
		for _, file := range files {
			kinds, err := readCRD(file)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			all = append(all, kinds...)
		}
	}
	return all, nil
})

// readCRD answers with the served kinds of a file that the translation has a table for.
func readCRD(file string) ([]*crd, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(text, definition); err != nil || definition.Kind != "CustomResourceDefinition" {
		return nil, err
	}
	var kinds []*crd
	for _, version := range definition.Spec.Versions {
		kind := runtimeschema.GroupVersionKind{Group: definition.Spec.Group, Version: version.Name, Kind: definition.Spec.Names.Kind}
		if !version.Served || !translated(kind) {
			continue
		}
		props := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, props, nil); err != nil {
			return nil, err
		}
		c := &crd{kind: kind}
		if c.whole, err = schema.NewStructural(props); err != nil {
			return nil, err
		}
		if c.validator, _, err = validation.NewSchemaValidator(props); err != nil {
			return nil, err
		}
		c.spec = c.whole.Properties["spec"]
		c.cel = schemacel.NewValidator(c.whole, true, math.MaxInt64)
		kinds = append(kinds, c)
	}
	return kinds, nil
}

// translated tells whether the translation has a table for a kind.
func translated(kind runtimeschema.GroupVersionKind) bool {
	made, err := testScheme.New(kind)
	if err != nil {
		return false // Kinds that Go programs do not know either.
	}
	_, ok := declareInputs(flow.NewGraph()).byType[reflect.TypeOf(made)]
	return ok
}

// admits reports whether the API server would store the object; its defaults are then filled in.
func (c *crd) admits(object map[string]any) bool {
	defaulting.Default(object, c.whole)
	if len(validation.ValidateCustomResource(nil, object, c.validator)) > 0 {
		return false
	}
	errs, _ := c.cel.Validate(context.Background(), field.NewPath(""), c.whole, object, nil, math.MaxInt64)
	return len(errs) == 0
}

// fromSchema makes a random object of a kind whose CRD admits it; nil if several tries made none.
func (h *history) fromSchema(c *crd) Object {
	for range 12 {
		m := h.meta(h.namespace(), h.word("name", &schema.ValueValidation{}))
		if c.kind.Kind == "GatewayClass" {
			m = h.meta("", "c")
		}
		object := map[string]any{
			"apiVersion": c.kind.GroupVersion().String(), "kind": c.kind.Kind,
			"metadata": map[string]any{"name": m.Name, "namespace": m.Namespace}, "spec": h.value(&c.spec, "spec", 0),
		}
		if !c.admits(object) {
			continue
		}
		made, err := testScheme.New(c.kind)
		if err != nil {
			panic(err) // The scheme recognises the kind.
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, made); err != nil {
			continue // A quantity, say, of which the schema alone does not tell the form.
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

// words are values for strings by the name of their field, so that objects refer to each other and paths are paths.
var words = map[string][]string{
	"name":              {"s1", "s2", "g1", "g2", "r1", "r2", "l0", "l1", "p", "s", "c", "x-a", "Accept"},
	"namespace":         {"n1", "n2"},
	"gatewayClassName":  {"c"},
	"controllerName":    {controllerName},
	"kind":              {"Service", "Secret", "ConfigMap", "Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute", "EnvoyProxy"},
	"group":             {"", "gateway.networking.k8s.io", "gateway.envoyproxy.io"},
	"sectionName":       {"l0", "l1", "rule"},
	"hostname":          {"a.example.com", "*.example.com", "b.example.com"},
	"hostnames":         {"a.example.com", "*.example.com", "x.a.example.com"},
	"protocol":          {"HTTP", "HTTPS", "TLS", "TCP", "UDP"},
	"value":             {"/", "/a", "/a/b", "/(", "a", "10.98.0.9", "%REQ(x)%", "a b", "[0-9]+"},
	"regularExpression": {"a+", "(", "[0-9]+"},
}

// anyWord is tried where words knows nothing, or nothing that the schema admits.
var anyWord = []string{"a", "web", "10s", "500ms", "100Ki", "/", "/a", "a.example.com", "https://a.example.com", "10.0.0.0/8", "x-a", "5xx", "GET", "100", "50", "info", "*", "/tmp/x", "Service", ""}

// word picks a string that the schema admits, "" if there is none at hand.
func (h *history) word(name string, v *schema.ValueValidation) string {
	if len(v.Enum) > 0 {
		word, _ := pick(h, v.Enum...).Object.(string)
		return word
	}
	pattern := compiled(v.Pattern)
	fit := func(words []string) []string {
		return slices.DeleteFunc(slices.Clone(words), func(w string) bool {
			return v.MinLength != nil && int64(len(w)) < *v.MinLength || v.MaxLength != nil && int64(len(w)) > *v.MaxLength || !pattern.MatchString(w)
		})
	}
	known := fit(words[name])
	if len(known) == 0 || h.IntN(20) == 0 {
		known = append(known, fit(anyWord)...)
	}
	if len(known) == 0 {
		return ""
	}
	return pick(h, known...)
}

var patterns sync.Map

func compiled(pattern string) *regexp.Regexp {
	if known, ok := patterns.Load(pattern); ok {
		return known.(*regexp.Regexp)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		re = regexp.MustCompile("")
	}
	patterns.Store(pattern, re)
	return re
}

// value makes a random value of a schema. Deep down only what is required is made.
func (h *history) value(s *schema.Structural, name string, depth int) any {
	v := s.ValueValidation
	if v == nil {
		v = &schema.ValueValidation{}
	}
	switch {
	case s.XIntOrString:
		return pick[any](h, int64(1), int64(50), "25%", "1")
	case s.Type == "string":
		return h.word(name, v)
	case s.Type == "boolean":
		return h.IntN(2) == 0
	case s.Type == "integer":
		return h.number(v)
	case s.Type == "number":
		return float64(h.number(v))
	case s.Type == "array":
		return h.list(s, v, name, depth)
	case s.Type == "object" && s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil:
		object := map[string]any{}
		for range h.IntN(2) {
			object[pick(h, "team", "a")] = h.value(s.AdditionalProperties.Structural, name, depth+1)
		}
		return object
	}
	return h.fields(s, v, depth)
}

func (h *history) number(v *schema.ValueValidation) int64 {
	fits := func(n int64) bool {
		return (v.Minimum == nil || float64(n) >= *v.Minimum) && (v.Maximum == nil || float64(n) <= *v.Maximum)
	}
	numbers := slices.DeleteFunc([]int64{0, 1, 2, 3, 10, 80, 80, 81, 100, 200, 302, 443, 503, 8080}, func(n int64) bool { return !fits(n) })
	if len(numbers) == 0 {
		return int64(*v.Minimum)
	}
	return pick(h, numbers...)
}

func (h *history) list(s *schema.Structural, v *schema.ValueValidation, name string, depth int) []any {
	least, most := int64(0), int64(3)
	if v.MinItems != nil {
		least = *v.MinItems
	}
	if v.MaxItems != nil {
		most = min(*v.MaxItems, least+3)
	}
	list := []any{}
	for range least + h.Int64N(max(most-least, 0)+1) {
		list = append(list, h.value(s.Items, name, depth+1))
	}
	return list
}

// fields makes an object. Where a field type names others, as it does in unions, it gets the one that it names and no other.
func (h *history) fields(s *schema.Structural, v *schema.ValueValidation, depth int) map[string]any {
	object := map[string]any{}
	variants := h.variant(s, object)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[name]
		_, made := object[name]
		named, isVariant := variants[name]
		switch {
		case made || isVariant && !named || name == "status":
			continue
		case named || slices.Contains(v.Required, name) || depth < 9 && h.IntN(depth+2) == 0 || depth < 2:
			object[name] = h.value(&property, name, depth+1)
		}
	}
	return object
}

// variant chooses the type of a union. It tells of each field that is a variant of it whether it is the chosen one.
func (h *history) variant(s *schema.Structural, object map[string]any) map[string]bool {
	property, ok := s.Properties["type"]
	if !ok || property.ValueValidation == nil || len(property.ValueValidation.Enum) == 0 {
		return nil
	}
	chosen := h.word("type", property.ValueValidation)
	object["type"] = chosen
	variants := map[string]bool{}
	for _, e := range property.ValueValidation.Enum {
		for name := range s.Properties { // In any order: each stands for itself.
			if word, _ := e.Object.(string); strings.EqualFold(word, name) {
				variants[name] = word == chosen
			}
		}
	}
	return variants
}

// TestRandomObjectsAreStored: the CRD of every kind admits some of what is made at random, or the fuzz below would find nothing.
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
		t.Logf("%s: %d of 40", c.kind.Kind, made)
		if made == 0 {
			t.Errorf("no %s was made that its CRD admits", c.kind.Kind)
		}
	}
}
