package merge

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/api/v1alpha1"
)

// sample is a type with every sort of field that a merge distinguishes.
type sample struct {
	Name   string            `json:"name,omitempty"`
	Number *int64            `json:"number,omitempty"`
	Inner  *sample           `json:"inner,omitempty"`
	List   []string          `json:"list,omitempty"`
	Set    []string          `json:"set,omitempty" patchStrategy:"merge"`
	Keyed  []sample          `json:"keyed,omitempty" patchStrategy:"merge" patchMergeKey:"name"`
	Labels map[string]string `json:"labels,omitempty"`
}

func TestApply(t *testing.T) {
	for name, c := range map[string]struct {
		document, changes string
		json, strategic   string // Empty: the same as json.
	}{
		"fields that are not written stay": {`{"name":"a","number":1}`, `{"number":2}`, `{"name":"a","number":2}`, ""},
		"objects are merged": {
			`{"inner":{"name":"a","number":1}}`, `{"inner":{"name":"b"}}`,
			`{"inner":{"name":"b","number":1}}`, "",
		},
		"maps are merged": {
			`{"labels":{"a":"1","b":"2"}}`, `{"labels":{"b":"3"}}`,
			`{"labels":{"a":"1","b":"3"}}`, "",
		},
		"null removes": {
			`{"name":"a","inner":{"name":"b"}}`, `{"name":null,"inner":{"name":null}}`,
			`{"inner":{}}`, "",
		},
		"null removes nothing":   {`{}`, `{"name":null,"inner":{"name":null}}`, `{"inner":{}}`, ""},
		"lists are replaced":     {`{"list":["a","b"]}`, `{"list":["c"]}`, `{"list":["c"]}`, ""},
		"an empty list replaces": {`{"list":["a","b"]}`, `{"list":[]}`, `{"list":[]}`, ""},
		"large numbers stay exact": {
			`{"number":9007199254740991}`, `{"name":"a"}`,
			`{"name":"a","number":9007199254740991}`, "",
		},
		"lists with a key": {
			`{"keyed":[{"name":"a","number":1},{"name":"b","number":2}]}`, `{"keyed":[{"name":"b","list":["x"]},{"name":"c"}]}`,
			`{"keyed":[{"name":"b","list":["x"]},{"name":"c"}]}`,
			`{"keyed":[{"name":"a","number":1},{"name":"b","number":2,"list":["x"]},{"name":"c"}]}`,
		},
		"lists without a key": {`{"set":["a","b"]}`, `{"set":["b","c"]}`, `{"set":["b","c"]}`, `{"set":["a","b","c"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			for how, want := range map[v1alpha1.MergeType]string{
				v1alpha1.JSONMerge:      c.json,
				v1alpha1.StrategicMerge: c.strategic,
			} {
				if want == "" {
					want = c.json
				}
				got, err := JSON(how, []byte(c.document), []byte(c.changes), sample{})
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if diff := cmp.Diff(decoded(t, []byte(want)), sortedKeys(decoded(t, got))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", how, diff)
				}
			}
		})
	}
}

// sortedKeys sorts the list keyed, whose order strategic merge chooses.
func sortedKeys(object map[string]any) map[string]any {
	if list, ok := object["keyed"].([]any); ok {
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(nameOf(a), nameOf(b)) })
	}
	return object
}

func nameOf(item any) string {
	object, _ := item.(map[string]any)
	return fmt.Sprint(object["name"])
}

func decoded(t *testing.T, text []byte) map[string]any {
	t.Helper()
	object, err := decode(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return object
}

func TestApplyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		how               v1alpha1.MergeType
		document, changes string
	}{
		"another type":            {"Replace", `{}`, `{}`},
		"no object":               {v1alpha1.JSONMerge, `{}`, `[]`},
		"null":                    {v1alpha1.JSONMerge, `{}`, `null`},
		"no JSON":                 {v1alpha1.JSONMerge, `{}`, `{`},
		"no JSON to merge into":   {v1alpha1.JSONMerge, `{`, `{}`},
		"a key that is a list":    {v1alpha1.StrategicMerge, `{"keyed":[{"name":[]}]}`, `{"keyed":[{"name":[]}]}`},
		"a field that is unknown": {v1alpha1.StrategicMerge, `{"other":{"a":1}}`, `{"other":{"a":2}}`},
	} {
		if got, err := JSON(c.how, []byte(c.document), []byte(c.changes), sample{}); err == nil {
			t.Errorf("%s: got %s", name, got)
		}
		d := NewDocument([]byte(c.document))
		if err := d.Merge(c.how, []byte(c.changes), sample{}); err == nil || string(d.JSON()) != c.document ||
			d.Origin("name") != 0 {
			t.Errorf("%s: the document becomes %s, %v", name, d.JSON(), err)
		}
	}
}

func TestOrigin(t *testing.T) {
	d := NewDocument([]byte(`{"name":"a","inner":{"name":"b","number":1,"list":["x"]},"list":["x","y"],"set":["x"],` +
		`"keyed":[{"name":"k","number":1},{"name":"l","number":1}],"labels":{"a":"1","b.c":"1"}}`))
	for _, changes := range []string{
		`{"inner":{"name":"c"},"set":["y"],"keyed":[{"name":"l","list":["z"]},{"name":"m"}],"labels":{"a":"2"}}`,
		`{"number":3,"inner":{"number":null},"list":["z"],"keyed":[{"name":"l","inner":{"name":"deep"}}]}`,
	} {
		if err := d.Merge(v1alpha1.StrategicMerge, []byte(changes), sample{}); err != nil {
			t.Fatal(err)
		}
	}
	items := decoded(t, d.JSON())
	at := func(list, name string) string {
		return fmt.Sprintf("%s[%d]", list, slices.IndexFunc(items[list].([]any),
			func(item any) bool { return item == name || nameOf(item) == name }))
	}
	for path, want := range map[string]int{
		"":                            2,
		"name":                        0,
		"number":                      2,
		"inner":                       2,
		"inner.name":                  1,
		"inner.number":                2, // Removed.
		"inner.list":                  0,
		"inner.list[0]":               0,
		"inner.other":                 2,
		"list":                        2,
		"list[0]":                     2,
		at("set", "x"):                0,
		at("set", "y"):                1,
		"set":                         1,
		at("keyed", "k"):              0,
		at("keyed", "l"):              2,
		at("keyed", "l") + ".number":  0,
		at("keyed", "l") + ".list[0]": 1,
		at("keyed", "l") + ".inner":   2,
		at("keyed", "m") + ".name":    1,
		"labels[a]":                   1,
		`labels["b.c"]`:               0,
		"labels[none]":                1,
		"keyed[99].name":              2,
		"keyed[":                      2,
		"a..b[[]":                     2,
	} {
		if got := d.Origin(path); got != want {
			t.Errorf("%q is of %d, want %d", path, got, want)
		}
	}
}

// FuzzMerge checks of any two objects that what is merged is JSON, that RFC 7386 can be applied again without effect,
// and that the origin of each field is an object that has its value.
func FuzzMerge(f *testing.F) {
	f.Add(`{"name":"a","inner":{"name":"b","list":["x"]}}`, `{"inner":{"list":[],"number":3}}`, true)
	f.Add(`{"keyed":[{"name":"k","number":1},{"name":"l"}],"set":["x","x"]}`,
		`{"keyed":[{"name":"l","set":["y"]},{"name":"m"}],"set":["y"]}`, true)
	f.Add(`{"keyed":[{"name":"k"}]}`, `{"keyed":[{"name":"k","$patch":"delete"}],"$retainKeys":["keyed"]}`, true)
	f.Add(`{"labels":{"a":"1"},"inner":null}`, `{"labels":{"a":null,"b":"2"},"inner":{"inner":{"name":null}}}`, false)
	f.Add(`{"a":{"b":[{"c":1}]}}`, `{"a":{"b":{"c":2}}}`, false)
	f.Fuzz(func(t *testing.T, document, changes string, strategic bool) {
		how := v1alpha1.JSONMerge
		if strategic {
			how = v1alpha1.StrategicMerge
		}
		d := NewDocument([]byte(document))
		if d.Merge(how, []byte(changes), sample{}) != nil {
			return
		}
		if !json.Valid(d.JSON()) {
			t.Fatalf("merged into %s", d.JSON())
		}
		if how == v1alpha1.JSONMerge {
			again, err := JSON(how, d.JSON(), []byte(changes), nil)
			if err != nil || !reflect.DeepEqual(decoded(t, again), decoded(t, d.JSON())) {
				t.Errorf("merged into %s, then %s, %v", d.JSON(), again, err)
			}
		}
		if strings.Contains(changes, "$") {
			return // Directives of strategic merge choose what stays, and no spec of ours can contain them.
		}
		have := [2]map[string]bool{{}, {}}
		for i, text := range []string{document, changes} {
			leaves("", decoded(t, []byte(text)), func(_ string, value any) { have[i][fmt.Sprint(value)] = true })
		}
		leaves("", decoded(t, d.JSON()), func(path string, value any) {
			if strings.ContainsAny(path, "\x00") {
				return // A name that no path can have.
			}
			if by := d.Origin(path); !have[by][fmt.Sprint(value)] {
				t.Errorf("%s: %q is said to be of %d", d.JSON(), path, by)
			}
		})
	})
}

// leaves visits each value that is neither an object nor a list, with its path. A name that needs quotes in a path
// makes it contain a zero byte.
func leaves(path string, value any, visit func(path string, value any)) {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if name == "" || strings.ContainsAny(name, ".[]\"`'") {
				name = "\x00"
			}
			leaves(strings.TrimPrefix(path+"."+name, "."), v[name], visit)
		}
	case []any:
		for i, item := range v {
			leaves(fmt.Sprintf("%s[%d]", path, i), item, visit)
		}
	default:
		visit(path, value)
	}
}
