package translator

import "gatehouse/translator/flow"

// Field is a field of Gateways that some CRDs of Gateway API do not have, so that API servers drop what users write
// there. It is a path of names with dots between them; an item of a list has no name.
type Field string

// FieldRoutability also stands for status.addresses.routability, which came with it.
const (
	FieldRoutability     Field = "spec.addresses.routability"
	FieldListenerFilters Field = "spec.listeners.filters"
)

// Fields are all such fields. Unless an Event says that a field is dropped, it counts as stored.
var Fields = []Field{FieldRoutability, FieldListenerFilters}

// fieldDropped reports whether the cluster's CRD of Gateways does not have the field.
func (t *Tables) fieldDropped(r *flow.Read, f Field) bool {
	_, ok := t.in.dropped.Get(r, string(f))
	return ok
}
