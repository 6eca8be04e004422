package v1alpha1

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"k8s.io/apimachinery/pkg/util/json"
)

// UnreadField is a field in a spec that is not read. The CRDs keep such fields, so that nothing is lost on the way from
// and to Envoy Gateway. Everybody who judges a spec must report them.
type UnreadField struct {
	// Path is the field, such as spec.authorization.rules[0].operation, Name the last part of it.
	Path, Name string
	// Known reports whether Envoy Gateway has the field.
	Known bool
	// Nearest is the known field of the same object with the most similar name; empty if none is similar.
	Nearest string
	// Failure is why the value cannot be read, for a field that is served.
	Failure string
}

// decodeSpec decodes a spec of the kind into a pointer to a struct, with case-sensitive names as the API server does,
// and lists the fields that are not read. A value of the wrong type is listed too and is not an error: one such object
// must not hide all others from informers.
func decodeSpec(text []byte, kind string, into any) ([]UnreadField, error) {
	var written any
	if err := json.Unmarshal(text, &written); err != nil {
		return nil, fmt.Errorf("decoding the spec: %w", err)
	}
	w := specWalk{}
	w.value("spec", written, reflect.TypeOf(into), knownFields()[kind])
	if err := json.Unmarshal(text, into); err != nil {
		w.found = append(w.found, failedField(err))
	}
	return w.found, nil
}

func failedField(err error) UnreadField {
	f := UnreadField{Path: "spec", Name: "spec", Failure: strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "),
		"json: ")}
	if mistyped := new(stdjson.UnmarshalTypeError); errors.As(err, &mistyped) {
		f.Failure = fmt.Sprintf("it is of type %s and should be of type %s", mistyped.Value, jsonType(mistyped.Type))
		for name := range strings.SplitSeq(mistyped.Field, ".") {
			if name != "" && !unicode.IsUpper(rune(name[0])) { // Embedded structs are not fields in JSON.
				f.Path, f.Name = f.Path+"."+name, name
			}
		}
	}
	return f
}

// jsonType is the JSON name of the values of a Go type.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "integer"
}

// specWalk walks through the written value and the Go type that reads it in parallel.
type specWalk struct {
	found []UnreadField
}

// value checks a value against its type. known has the fields that Envoy Gateway knows in the objects there, nil if it
// has no list.
func (w *specWalk) value(at string, written any, t reflect.Type, known objectFields) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return // The type has its own decoding.
	}
	switch v := written.(type) {
	case []any:
		if t.Kind() != reflect.Slice {
			return // A wrong type, which the decoder reports.
		}
		for i, item := range v {
			w.value(fmt.Sprintf("%s[%d]", at, i), item, t.Elem(), known)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			switch t.Kind() {
			case reflect.Map:
				w.value(fmt.Sprintf("%s[%s]", at, name), v[name], t.Elem(), known)
			case reflect.Struct:
				w.field(at, name, v[name], t, known)
			}
		}
	}
}

// The limits of a report about an object full of nonsense: the number of fields, and the length of each name.
const (
	maxUnread = 100
	maxName   = 63
)

// plainName matches usual names of fields.
var plainName = regexp.MustCompile(fmt.Sprintf("^[A-Za-z0-9_-]{1,%d}$", maxName))

var unmarshaler = reflect.TypeFor[stdjson.Unmarshaler]()

func (w *specWalk) field(at, name string, written any, t reflect.Type, known objectFields) {
	served := servedFields(t)
	if field, ok := served[name]; ok {
		w.value(at+"."+name, written, field, knownFields()[known[name]])
		return
	}
	if len(w.found) == maxUnread {
		return
	}
	if plainName.MatchString(name) {
		at += "." + name
	} else {
		runes := []rune(name)
		name = string(runes[:min(len(runes), maxName)])
		at += "[" + strconv.Quote(name) + "]"
	}
	f := UnreadField{Path: at, Name: name}
	if _, f.Known = known[name]; !f.Known && plainName.MatchString(name) {
		f.Nearest = nearest(name, slices.Concat(slices.Collect(maps.Keys(served)), slices.Collect(maps.Keys(known))))
	}
	w.found = append(w.found, f)
}

var servedByType sync.Map

// servedFields are the fields of a struct by their names in JSON, those of embedded structs included.
func servedFields(t reflect.Type) map[string]reflect.Type {
	if known, ok := servedByType.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name != "":
			fields[name] = f.Type
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			maps.Copy(fields, servedFields(f.Type))
		default:
			fields[f.Name] = f.Type
		}
	}
	servedByType.Store(t, fields)
	return fields
}

// nearest is the candidate with the smallest distance from the name, "" if all are too far. It ignores case, and a name
// that is a prefix of the other is near.
func nearest(name string, candidates []string) string {
	const near = 2
	slices.Sort(candidates)
	best, fewest := "", len(name)/3+near
	name = strings.ToLower(name)
	for _, candidate := range candidates {
		c := strings.ToLower(candidate)
		d := distance(name, c)
		if len(name) > near && (strings.HasPrefix(c, name) || strings.HasPrefix(name, c)) {
			d = min(d, near)
		}
		if d < fewest {
			best, fewest = candidate, d
		}
	}
	return best
}

// distance counts the letters to insert, remove, replace, or swap with the next one (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
