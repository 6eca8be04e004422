package crdtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// unlimited is the limit of a list or a text whose schema has none.
	unlimited = 1 << 18
	// growths is the maximum number of extensions of an object, and judged the maximum number of bytes that the rules
	// of the API server check, except for the last extension: they are slow, especially while a fuzzer counts what is
	// executed, and a fuzz target has 10 s in total.
	growths = 5
	judged  = MaxObject / 2
)

// pieces are the parts of long texts.
var pieces = []string{"a", "/a", "/%C3%BC", ".abcdefghij", "-a", `[^/]`, "(?:a|b)?", `\pL`, "%", "é"}

// Grown returns a copy of the object in which some lists and texts are longer, up to the limits of their schema, as
// long as the API server admits the whole. Half of the long texts come from the given ones.
func (m *Maker) Grown(k *Kind, object map[string]any, texts []string) map[string]any {
	spec := k.Schema.Properties["spec"]
	asked := 0
	for i := 0; i < growths && asked < judged; i++ {
		next := runtime.DeepCopyJSON(object)
		g := &growth{Maker: m, texts: texts, left: MaxObject - size(object), spots: map[string][]func() bool{}}
		g.find(next["spec"], &spec, "spec", func(v any) { next["spec"] = v })
		if len(g.spots) == 0 {
			return object
		}
		field := pick(m, slices.Sorted(maps.Keys(g.spots))...)
		if pick(m, g.spots[field]...)() {
			asked += size(next)
			if k.Admits(next) {
				object = next
			}
		}
	}
	return object
}

func size(v any) int {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // It consists of JSON values.
	}
	return len(text)
}

// growth finds lists and texts that can be extended.
type growth struct {
	*Maker
	texts []string
	// left is how many more bytes the object may get.
	left int
	// spots extend one list or text each, and report whether they did, by the path of the field, which all items of a
	// list have in common.
	spots map[string][]func() bool
}

func (g *growth) find(v any, s *structuralschema.Structural, path string, set func(any)) {
	if s == nil {
		return
	}
	add := func(spot func() bool) { g.spots[path] = append(g.spots[path], spot) }
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if property, ok := s.Properties[name]; ok {
				g.find(v[name], &property, path+"."+name, func(grown any) { v[name] = grown })
			}
		}
		if s.AdditionalProperties != nil && len(v) > 0 {
			add(func() bool { return g.spread(v, s) })
		}
	case []any:
		for i := range v {
			g.find(v[i], s.Items, path+"[]", func(grown any) { v[i] = grown })
		}
		if len(v) > 0 {
			add(func() bool { return g.lengthen(v, s, set) })
		}
	case string:
		if len(limits(s).Enum) == 0 {
			add(func() bool { return g.stretch(v, limits(s), set) })
		}
	}
}

// lengthen repeats the items of a list with variations.
func (g *growth) lengthen(list []any, s *structuralschema.Structural, set func(any)) bool {
	most := unlimited
	if limit := limits(s).MaxItems; limit != nil {
		most = int(*limit)
	}
	each := size(list)/len(list) + 8
	most = min(most, len(list)+g.left/each)
	if g.IntN(3) == 0 {
		most = len(list) + g.IntN(most-len(list)+1)
	}
	if most <= len(list) {
		return false
	}
	varied := g.varied(list[0], s)
	grown := slices.Clip(list)
	for i := len(list); i < most; i++ {
		grown = append(grown, vary(runtime.DeepCopyJSONValue(list[i%len(list)]), s.Items, varied, i))
	}
	set(grown)
	return true
}

// spread adds entries to a map, each with the value of another one.
func (g *growth) spread(entries map[string]any, s *structuralschema.Structural) bool {
	most := unlimited
	if limit := limits(s).MaxProperties; limit != nil {
		most = int(*limit)
	}
	name := slices.Min(slices.Collect(maps.Keys(entries)))
	most = min(most, g.left/(size(entries[name])+len(name)+16))
	for i := len(entries); i < most; i++ {
		entries[fmt.Sprintf("%s-%d", name, i)] = runtime.DeepCopyJSONValue(entries[name])
	}
	return true
}

// varied are the fields of a list's items that must differ: the keys of the list, and some others.
func (g *growth) varied(item any, s *structuralschema.Structural) map[string]bool {
	names := map[string]bool{}
	for _, key := range s.XListMapKeys {
		names[key] = true
	}
	if object, ok := item.(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			names[name] = names[name] || g.IntN(2) == 0
		}
	}
	return names
}

// vary makes the i-th item of a list differ from the others.
func vary(item any, s *structuralschema.Structural, names map[string]bool, i int) any {
	switch v := item.(type) {
	case string:
		return variation(v, limits(s), i)
	case int64:
		if n := v + int64(i); within(n, limits(s)) {
			return n
		}
	case map[string]any:
		for name, value := range v { // The order does not matter.
			property, ok := s.Properties[name]
			if ok && names[name] {
				v[name] = vary(value, &property, nil, i)
			}
		}
	}
	return item
}

// variation is another string that is similar to the given one and that the schema admits, or the same string if there
// is none.
func variation(w string, v *structuralschema.ValueValidation, i int) string {
	other := fmt.Sprintf("%s-%d", w, i)
	_, notRange := netip.ParsePrefix(w)
	scheme, host, url := strings.Cut(w, "://")
	switch {
	case len(v.Enum) > 0:
		return w
	case url:
		other = fmt.Sprintf("%s://h%d.%s", scheme, i, strings.TrimPrefix(host, "*."))
	case notRange == nil:
		other = fmt.Sprintf("10.%d.%d.%d/32", i>>16&255, i>>8&255, i&255)
	case strings.HasPrefix(w, "/"):
		other = fmt.Sprintf("%s/%d", w, i)
	case strings.HasPrefix(w, "*."):
		other = fmt.Sprintf("*.h%d%s", i, w[1:])
	case strings.Contains(w, "."):
		other = fmt.Sprintf("h%d.%s", i, w)
	}
	if !fits(other, v) {
		return w
	}
	return other
}

// stretch extends a text to the maximum.
func (g *growth) stretch(w string, v *structuralschema.ValueValidation, set func(any)) bool {
	most := unlimited
	if v.MaxLength != nil {
		most = int(*v.MaxLength)
	}
	most = min(most, len(w)+g.left)
	if g.IntN(2) == 0 && len(g.texts) > 0 {
		text := pick(g.Maker, g.texts...)
		if text = strings.ToValidUTF8(text[:min(len(text), most)], ""); fits(text, v) {
			set(text)
			return true
		}
	}
	for _, at := range g.Perm(len(pieces)) {
		text := w + strings.Repeat(pieces[at], max(most-len(w), 0)/len(pieces[at]))
		if len(text) > len(w) && fits(text, v) {
			set(text)
			return true
		}
	}
	return false
}
