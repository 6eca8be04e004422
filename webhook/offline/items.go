package offline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// object takes an object, or each item of a list.
func (r *reader) object(d document) {
	var head struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Items      json.RawMessage `json:"items"`
	}
	// A document with other types in these fields is not an object.
	if err := kjson.UnmarshalCaseSensitivePreserveInts(d.raw, &head); err != nil || head.Kind == "" ||
		head.APIVersion == "" {
		r.nameless(d)
		return
	}
	var items []json.RawMessage
	if !strings.HasSuffix(head.Kind, "List") || json.Unmarshal(head.Items, &items) != nil {
		d.kind = schema.FromAPIVersionAndKind(head.APIVersion, head.Kind)
		r.documents = append(r.documents, d)
		return
	}
	for i, item := range items {
		inner := d
		inner.within, inner.raw = fmt.Sprintf("%s.items[%d]", d.within, i), item
		if !bytes.HasPrefix(bytes.TrimSpace(item), []byte("{")) {
			r.broken = append(r.broken, unreadable{at: inner.place(""), text: "an item of a list is an object, and this is none"})
			continue
		}
		r.object(inner)
	}
}

// nameless takes a document that does not say which kind of object it is. With a kind and metadata it is meant as an object.
func (r *reader) nameless(d document) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(d.raw, &fields) == nil && fields["kind"] != nil && fields["metadata"] != nil {
		r.broken = append(r.broken, unreadable{at: d.place(""), text: "an object has apiVersion and kind, which are texts"})
		return
	}
	r.others++
}
