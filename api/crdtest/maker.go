package crdtest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// Maker makes random objects.
type Maker struct {
	*rand.Rand
	// Words are values for strings by the name of their field, so that objects refer to each other and paths are valid.
	// A name such as parentRefs.name is a field within another, and has priority over the name alone.
	Words map[string][]string
}

// anyWord is used if Words has nothing for the field, or nothing that the schema admits.
var anyWord = []string{
	"a", "web", "10s", "500ms", "100Ki", "/", "/a", "a.example.com", "https://a.example.com",
	"10.0.0.0/8", "x-a", "5xx", "GET", "100", "50", "info", "*", "/tmp/x", "Service", "",
}

// numbers are values for numbers, if the schema admits them.
var numbers = []int64{0, 1, 2, 3, 10, 80, 80, 81, 100, 200, 302, 443, 503, 8080}

func pick[T any](m *Maker, of ...T) T { return of[m.IntN(len(of))] }

// Spec makes a random spec. The schema admits its parts, but not always the whole.
func (m *Maker) Spec(k *Kind) any {
	spec := k.Schema.Properties["spec"]
	return m.value(&spec, place{name: "spec"})
}

// place is the position of a value: the name of its field and of the field around it, and the depth.
type place struct {
	around, name string
	depth        int
}

func (p place) inside(name string) place { return place{p.name, name, p.depth + 1} }

// item is the place of an entry of a list or a map.
func (p place) item() place { return place{p.around, p.name, p.depth + 1} }

func limits(s *structuralschema.Structural) *structuralschema.ValueValidation {
	if s.ValueValidation == nil {
		return &structuralschema.ValueValidation{}
	}
	return s.ValueValidation
}

// value makes a random value for a schema. At a large depth it makes only required fields.
func (m *Maker) value(s *structuralschema.Structural, p place) any {
	switch {
	case s.XIntOrString:
		return pick(m, slices.DeleteFunc([]any{int64(1), int64(50), "25%", "1", "70000"}, func(v any) bool {
			return !matches(fmt.Sprint(v), limits(s))
		})...)
	case s.Type == "string":
		return m.word(limits(s), p)
	case s.Type == "boolean":
		return m.IntN(2) == 0
	case s.Type == "integer":
		return m.number(limits(s))
	case s.Type == "number":
		return float64(m.number(limits(s)))
	case s.Type == "array":
		return m.list(s, p)
	case s.Type == "object" && s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil:
		object := map[string]any{}
		for range m.IntN(2) {
			object[pick(m, "team", "a")] = m.value(s.AdditionalProperties.Structural, p.item())
		}
		return object
	}
	return m.fields(s, p)
}

// word chooses a string that the schema admits, "" if it knows none.
func (m *Maker) word(v *structuralschema.ValueValidation, p place) string {
	if len(v.Enum) > 0 {
		words := make([]string, len(v.Enum))
		for i, e := range v.Enum {
			words[i], _ = e.Object.(string)
		}
		if preferred := slices.DeleteFunc(slices.Clone(m.Words[p.around+"."+p.name]),
			func(w string) bool { return !slices.Contains(words, w) }); len(preferred) > 0 {
			words = preferred
		}
		return pick(m, words...)
	}
	fit := func(words []string) []string {
		return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !fits(w, v) })
	}
	known := fit(m.Words[p.around+"."+p.name])
	if len(known) > 0 {
		return pick(m, known...)
	}
	known = fit(m.Words[p.name])
	if len(known) == 0 || m.IntN(20) == 0 {
		known = append(known, fit(anyWord)...)
	}
	if len(known) == 0 {
		return ""
	}
	return pick(m, known...)
}

// matches reports whether a text has all patterns of a schema. Quantities have several.
func matches(w string, v *structuralschema.ValueValidation) bool {
	lacks := func(all structuralschema.NestedValueValidation) bool { return !compiled(all.Pattern).MatchString(w) }
	return compiled(v.Pattern).MatchString(w) && !slices.ContainsFunc(v.AllOf, lacks)
}

// fits reports whether the schema admits a string.
func fits(w string, v *structuralschema.ValueValidation) bool {
	if _, err := base64.StdEncoding.DecodeString(w); v.Format == "byte" && err != nil {
		return false
	}
	return (v.MinLength == nil || int64(len(w)) >= *v.MinLength) &&
		(v.MaxLength == nil || int64(len(w)) <= *v.MaxLength) && compiled(v.Pattern).MatchString(w)
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

func (m *Maker) number(v *structuralschema.ValueValidation) int64 {
	if len(v.Enum) > 0 {
		n, _ := pick(m, v.Enum...).Object.(int64)
		return n
	}
	known := slices.DeleteFunc(slices.Clone(numbers), func(n int64) bool { return !within(n, v) })
	if len(known) == 0 {
		return int64(*v.Minimum)
	}
	return pick(m, known...)
}

func within(n int64, v *structuralschema.ValueValidation) bool {
	return (v.Minimum == nil || float64(n) >= *v.Minimum) && (v.Maximum == nil || float64(n) <= *v.Maximum)
}

func (m *Maker) list(s *structuralschema.Structural, p place) []any {
	least, most := int64(0), int64(3)
	if v := limits(s); v.MinItems != nil {
		least = *v.MinItems
	}
	if v := limits(s); v.MaxItems != nil {
		most = min(*v.MaxItems, least+3)
	}
	list, seen := []any{}, map[string]bool{}
	for range least + m.Int64N(max(most-least, 0)+1) {
		item := m.value(s.Items, p.item())
		if key := identity(item, s); key == "" || !seen[key] {
			list, seen[key] = append(list, item), true
		}
	}
	return list
}

// identity is what only one item of a list may have, "" if items may be equal.
func identity(item any, s *structuralschema.Structural) string {
	if s.XListType != nil && *s.XListType == "set" {
		return fmt.Sprint(item)
	}
	key := ""
	for _, name := range s.XListMapKeys {
		object, _ := item.(map[string]any)
		key += fmt.Sprintf("%q ", fmt.Sprint(object[name]))
	}
	return key
}

// fields makes an object. If a field type names another field, as in unions, the object gets that one and not the
// others.
func (m *Maker) fields(s *structuralschema.Structural, p place) map[string]any {
	object := map[string]any{}
	variants := m.variant(s, object, p)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[name]
		_, made := object[name]
		named, isVariant := variants[name]
		switch {
		case made || isVariant && !named || name == "status":
			continue
		case named || slices.Contains(limits(s).Required, name) || p.depth < 9 && m.IntN(p.depth+2) == 0 || p.depth < 2:
			object[name] = m.value(&property, p.inside(name))
		}
	}
	return object
}

// variant chooses the type of a union. It returns, for each field that is a variant, whether it is the chosen one.
func (m *Maker) variant(s *structuralschema.Structural, object map[string]any, p place) map[string]bool {
	variants := m.alternatives(s)
	property, ok := s.Properties["type"]
	if !ok || len(limits(&property).Enum) == 0 {
		return variants
	}
	chosen := m.word(limits(&property), p.inside("type"))
	object["type"] = chosen
	for _, e := range limits(&property).Enum {
		for name := range s.Properties { // The order does not matter.
			if word, _ := e.Object.(string); strings.EqualFold(word, name) {
				variants[name] = word == chosen
			}
		}
	}
	return variants
}

// ofAlternatives matches the rule that controller-gen makes from a list of fields of which one may or must be set, and
// each of the fields.
var (
	ofAlternatives = regexp.MustCompile(`^(?:(?:\+?\(has\(self\.\w+\)\?1:0\))+ (?:==|<=) 1|(?:(?:\|\|)?has\(self\.\w+\))+)$`)
	alternative    = regexp.MustCompile(`self\.(\w+)`)
)

// alternatives chooses among the fields for which a rule of the schema says that one may or must be set.
func (m *Maker) alternatives(s *structuralschema.Structural) map[string]bool {
	variants := map[string]bool{}
	for _, rule := range s.XValidations {
		if !ofAlternatives.MatchString(rule.Rule) {
			continue
		}
		names := alternative.FindAllStringSubmatch(rule.Rule, -1)
		chosen := m.IntN(len(names))
		for i, name := range names {
			variants[name[1]] = i == chosen
		}
	}
	return variants
}
