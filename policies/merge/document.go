package merge

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"gatehouse/api/v1alpha1"
)

// Document is a JSON object into which others were merged, one after the other. It knows which of them wrote each
// field. Its memory grows with what they wrote.
type Document struct {
	text   []byte
	value  any // What text says, nil before the first merge.
	origin *origin
	merges int
}

// NewDocument returns a document that is number 0 itself.
func NewDocument(text []byte) *Document { return &Document{text: text, origin: written(0)} }

// JSON returns the document as it is now. It must not be written to.
func (d *Document) JSON() []byte { return d.text }

// Merge merges changes into the document, see JSON. If it returns an error, the document stays as it was.
func (d *Document) Merge(how v1alpha1.MergeType, changes []byte, of any) error {
	text, err := JSON(how, d.text, changes, of)
	if err != nil {
		return err
	}
	var values [3]any
	for i, text := range [][]byte{d.text, text, changes} {
		if values[i], err = decode(text); err != nil {
			return err
		}
	}
	o := overlay{number: d.merges + 1}
	var lists strategicpatch.LookupPatchMeta
	if how == v1alpha1.StrategicMerge {
		if lists, err = strategicpatch.NewPatchMetaFromStruct(of); err != nil {
			return err
		}
	}
	d.text, d.value, d.merges = text, values[1], o.number
	d.origin = o.value(d.origin, change{values[0], values[1], values[2]}, lists)
	return nil
}

// Origin returns the number of the object that wrote the field at a path: 0 is the document at first, 1 what was merged
// into it first. If several wrote parts of the field, it is the last of these. A field that is not there counts as the
// object or list that would contain it: the last who wrote a part of that could have added it.
//
// A path is one of verdict.Problem, such as spec.rules[0].name or spec.labels[app]; items have the places that they
// have in the merged document.
func (d *Document) Origin(path string) int {
	at, value := d.origin, d.value
	for _, step := range steps(path) {
		var there bool
		if value, there = inside(value, step); !there {
			break
		}
		at = at.inner(step)
	}
	return at.last
}

// inside returns a field of an object or an item of a list.
func inside(value any, step string) (any, bool) {
	switch v := value.(type) {
	case map[string]any:
		field, ok := v[step]
		return field, ok
	case []any:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(v) {
			return v[i], true
		}
	}
	return nil, false
}

// steps splits a path into names of fields, keys of maps, and numbers of items.
func steps(path string) []string {
	var found []string
	for path != "" {
		end := strings.IndexAny(path, ".[")
		switch {
		case end < 0:
			return append(found, path)
		case end > 0:
			found, path = append(found, path[:end]), path[end:]
			continue
		case path[0] == '.':
			path = path[1:]
			continue
		}
		if quoted, err := strconv.QuotedPrefix(path[1:]); err == nil {
			name, _ := strconv.Unquote(quoted) // It is a prefix of that form.
			found, path = append(found, name), strings.TrimPrefix(path[1+len(quoted):], "]")
			continue
		}
		name, rest, _ := strings.Cut(path[1:], "]")
		found, path = append(found, name), rest
	}
	return found
}

// origin says who wrote a value and what is in it. It is never modified.
type origin struct {
	// last is the last who wrote a part of the value, rest who wrote all that is neither in fields nor in items.
	last, rest int
	fields     map[string]*origin
	items      []*origin
}

// written is the origin of a value that one has written as a whole.
func written(by int) *origin { return &origin{last: by, rest: by} }

// inner returns the origin of a field or an item.
func (o *origin) inner(name string) *origin {
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(o.items) {
		return o.items[i]
	}
	if field, ok := o.fields[name]; ok {
		return field
	}
	return written(o.rest)
}

// overlay finds the origins of what a merge results in. Its number is that of what was merged.
type overlay struct{ number int }

// change is a value before a merge, after it, and what was merged into it.
type change struct{ before, merged, written any }

// value returns the origin of a merged value, which had an origin before. Lists says how strategic merge treats the
// lists in it; without it, lists are replaced.
func (o overlay) value(of *origin, c change, lists strategicpatch.LookupPatchMeta) *origin {
	before, wasObject := c.before.(map[string]any)
	merged, isObject := c.merged.(map[string]any)
	changes, writesObject := c.written.(map[string]any)
	if !wasObject || !isObject || !writesObject {
		return written(o.number)
	}
	result := &origin{last: of.last, rest: of.rest, fields: maps.Clone(of.fields)}
	if result.fields == nil {
		result.fields = map[string]*origin{}
	}
	for name, value := range changes {
		now, kept := merged[name]
		previous, existed := before[name]
		field := written(o.number)
		if kept && existed && value != nil {
			field = o.field(of.inner(name), change{previous, now, value}, name, lists)
		}
		result.fields[name], result.last = field, max(result.last, field.last)
	}
	return result
}

// field is value for the field of an object.
func (o overlay) field(of *origin, c change, name string, lists strategicpatch.LookupPatchMeta) *origin {
	if lists == nil {
		return o.value(of, c, nil)
	}
	if _, isList := c.merged.([]any); !isList {
		inner, _, err := lists.LookupPatchMetadataForStruct(name)
		if err != nil {
			inner = nil // A map: its values have no tags.
		}
		return o.value(of, c, inner)
	}
	inner, meta, err := lists.LookupPatchMetadataForSlice(name)
	if err != nil || !slices.Contains(meta.GetPatchStrategies(), "merge") {
		return written(o.number)
	}
	return o.list(of, c, meta.GetPatchMergeKey(), inner)
}

// list returns the origin of a list that was merged with another one, by a key of its items or, without a key, as a
// set.
func (o overlay) list(of *origin, c change, key string, lists strategicpatch.LookupPatchMeta) *origin {
	before, _ := c.before.([]any)
	merged, _ := c.merged.([]any)
	changes, _ := c.written.([]any)
	result := &origin{last: of.last, rest: of.rest, items: make([]*origin, len(merged))}
	for i, item := range merged {
		was, now := find(before, item, key), find(changes, item, key)
		switch {
		case was >= 0 && (now < 0 || key == ""):
			result.items[i] = of.inner(strconv.Itoa(was))
		case was >= 0:
			result.items[i] = o.value(of.inner(strconv.Itoa(was)), change{before[was], item, changes[now]}, lists)
		default:
			result.items[i] = written(o.number)
		}
		result.last = max(result.last, result.items[i].last)
	}
	return result
}

// find returns the place of an item in a list of objects that have a key, or of scalars if the key is empty; -1 if it
// is not there.
func find(items []any, item any, key string) int {
	name := func(item any) any {
		if object, ok := item.(map[string]any); ok {
			if value := object[key]; scalar(value) {
				return value
			}
			return nil
		}
		if key == "" && scalar(item) {
			return item
		}
		return nil
	}
	wanted := name(item)
	return slices.IndexFunc(items, func(other any) bool { return wanted != nil && name(other) == wanted })
}

func scalar(value any) bool {
	switch value.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}
