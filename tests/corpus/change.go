package corpus

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// Changer makes random changes to folders.
type Changer struct {
	*rand.Rand
	// words are the values of fields in all folders, by the name of the field.
	words map[string][]any
}

// odd are values for any field. Some are wrong nearly everywhere.
var odd = []any{
	"", "*", "(", "/v(?=1)", "-", "10s", "-1s", "1h1h", "a..b", "no-such", "no such", "https://", "256.1.1.1", "10.0.0.0/33",
	strings.Repeat("long", 80), int64(-1), int64(0), int64(1), int64(65536), int64(443), true, false,
	map[string]any{},
	[]any{},
}

// NewChanger returns a changer that uses the values of the folders.
func NewChanger(seed uint64, folders []Folder) *Changer {
	c := &Changer{Rand: rand.New(rand.NewPCG(seed, seed)), words: map[string][]any{}}
	for _, f := range folders {
		for _, o := range f.Objects {
			c.learn(o.Object)
		}
	}
	return c
}

func (c *Changer) learn(value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			c.words[name] = append(c.words[name], v[name])
			c.learn(v[name])
		}
	case []any:
		for _, item := range v {
			c.learn(item)
		}
	}
}

// Change returns a copy of the folder in which some fields of specs are changed, at least one and at most four.
func (c *Changer) Change(f Folder) Folder {
	changed := Folder{Name: f.Name + " changed"}
	var specs []map[string]any
	for _, o := range f.Objects {
		o = o.DeepCopy()
		changed.Objects = append(changed.Objects, o)
		// Envoys are not started for a changed EnvoyProxy, and Kubernetes' own kinds are validated by the API server alone.
		if spec, ok := o.Object["spec"].(map[string]any); ok && ranks[o.GetKind()] > ranks["GatewayClass"] && len(spec) > 0 {
			specs = append(specs, spec)
		}
	}
	for range 1 + c.IntN(4) {
		if len(specs) > 0 {
			c.alter(specs[c.IntN(len(specs))])
		}
	}
	return changed
}

// alter changes one field at a random depth.
func (c *Changer) alter(object map[string]any) {
	names := slices.Sorted(maps.Keys(object))
	if len(names) == 0 {
		return
	}
	name := names[c.IntN(len(names))]
	if inner := c.inside(object[name]); inner != nil && c.IntN(5) > 0 {
		c.alter(inner)
		return
	}
	switch c.IntN(6) {
	case 0:
		delete(object, name)
	case 1: // A misspelt name.
		object[name+"s"] = object[name]
		delete(object, name)
	case 2: // Another field of this object gets a value that it has elsewhere.
		object[names[c.IntN(len(names))]] = c.word(name)
	case 3:
		if list, ok := object[name].([]any); ok && len(list) > 0 {
			object[name] = append(slices.Clone(list), runtime.DeepCopyJSONValue(list[c.IntN(len(list))]))
			return
		}
		object[name] = c.word("")
	default:
		object[name] = c.word(name)
	}
}

// inside is an object within a value; nil if there is none.
func (c *Changer) inside(value any) map[string]any {
	switch v := value.(type) {
	case map[string]any:
		if len(v) > 0 {
			return v
		}
	case []any:
		if len(v) > 0 {
			return c.inside(v[c.IntN(len(v))])
		}
	}
	return nil
}

// word is a value for the field.
func (c *Changer) word(name string) any {
	values := c.words[name]
	if len(values) == 0 || c.IntN(5) == 0 {
		return runtime.DeepCopyJSONValue(odd[c.IntN(len(odd))])
	}
	return runtime.DeepCopyJSONValue(values[c.IntN(len(values))])
}
