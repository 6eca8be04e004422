package translator

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// A proxy rejects a resource as a whole, but what it rejects is one part: a route of a route configuration, a filter
// chain of a listener. A part is identified by a hash of its bytes, so that it becomes another part when the object
// from which it was made changes.

// partsOf says where the parts of a type are: the fields that lead to them, and the field of the part that has its
// name.
type partsOf struct {
	// way are the fields of the messages in which the parts are, outermost first; the last is that of their groups. It
	// is empty if they are in the resource itself.
	way   []protowire.Number
	parts []protowire.Number
	name  protowire.Number
	// alone reports whether the resource is useful without any part.
	alone bool
	// shared is the field of the resource with the parts on which all others rest, 0 if there are none. Their first
	// field is their name.
	shared protowire.Number
}

var partTypes = map[string]partsOf{
	typeRoutes: {
		way: []protowire.Number{fieldVirtualHosts}, parts: []protowire.Number{fieldRoutes}, name: 14, alone: true,
		shared: fieldFilterConfigs,
	},
	typeScopes: {
		way: []protowire.Number{fieldInlineRoutes, fieldVirtualHosts}, parts: []protowire.Number{fieldRoutes},
		name: 14, alone: true,
	},
	typeListener: {parts: []protowire.Number{3, 25}, name: 7}, // filter_chains and default_filter_chain.
}

// Part is a piece of a resource that a proxy may reject because of the piece alone.
type Part struct {
	// Name is Envoy's name of it, Hash a hash of its bytes.
	Name, Hash string
	// Group is the place of its virtual host among those of the resource, Index its own place there.
	Group, Index int
	// Shared reports whether the other parts rest on it: routes rest on the configuration of a filter in their route
	// configuration. Envoy's messages do not contain its Name.
	Shared bool
	body   []byte
}

// partHash is how a part is known.
func partHash(body []byte) string { return hash(body, 16) }

// Parts returns the parts of a resource in their order. A resource without parts, such as a listener
// of UDP, is its only part, known by its version.
func (r *Resource) Parts() []Part {
	form, ok := partTypes[r.Type]
	if !ok {
		return []Part{{Name: r.Name, Hash: r.Version, body: r.Body()}}
	}
	parts := r.shared(form)
	r.walk(form, func(p Part) []byte {
		parts = append(parts, p)
		return p.body
	})
	if len(parts) == 0 && !form.alone {
		return []Part{{Name: r.Name, Hash: r.Version, body: r.Body()}}
	}
	return parts
}

// Trim returns the resource without the parts that are not kept. If old has a part of the same name, it replaces the
// one that is not kept. A virtual host that loses all its routes is removed too. The result is nil if the resource is
// useless without any part.
//
// A part must not be served without the shared parts on which it rests, since they may protect it. So if a shared part
// is not kept, all other parts stay as they are in old; and shared parts of old stay as long as other parts of old do.
func (r *Resource) Trim(keep func(hash string) bool, old *Resource) *Resource {
	form, ok := partTypes[r.Type]
	if !ok {
		return r
	}
	instead := map[string][]byte{}
	if old != nil {
		for _, p := range old.Parts() {
			instead[p.Name] = p.body
		}
	}
	if slices.ContainsFunc(r.shared(form), func(p Part) bool { return !keep(p.Hash) }) {
		return r.onOld(form, keep, old)
	}
	kept, same, parts := 0, true, 0
	body := r.walk(form, func(p Part) []byte {
		parts++
		if keep(p.Hash) {
			kept++
			return p.body
		}
		same = false
		if body := instead[p.Name]; body != nil {
			kept++
			return body
		}
		return nil
	})
	switch {
	case parts == 0 && !form.alone && !keep(r.Version):
		return nil
	case same:
		return r
	case kept == 0 && !form.alone:
		return nil
	case old == nil:
		return encodedResource(r.Type, r.Name, body, r.Needs)
	}
	now := r.shared(form)
	gone := slices.DeleteFunc(old.shared(form), func(p Part) bool { return slices.ContainsFunc(now, p.sameName) })
	if body = appendShared(body, form, gone); bytes.Equal(body, old.Body()) {
		return old
	}
	return encodedResource(r.Type, r.Name, body, r.Needs)
}

// walk visits the parts and returns the bytes of the resource with each part as visit answers; nil leaves it out.
func (r *Resource) walk(form partsOf, visit func(Part) []byte) []byte {
	w := walker{form: form, visit: visit}
	body, _ := w.message(r.Body(), form.way)
	return body
}

type walker struct {
	form  partsOf
	visit func(Part) []byte
	// group counts the groups that were walked.
	group int
}

// message walks a message from which a way leads to the parts. It is false if that is a group which had parts, and all
// of them are left out.
func (w *walker) message(body []byte, way []protowire.Number) (out []byte, left bool) {
	if len(way) == 0 {
		return w.parts(body)
	}
	each(body, func(field protowire.Number, whole, value []byte) {
		if field != way[0] {
			out = append(out, whole...)
			return
		}
		if inner, left := w.message(value, way[1:]); left {
			out = appendMessage(out, field, inner)
		}
		if len(way) == 1 {
			w.group++
		}
	})
	return out, true
}

func (w *walker) parts(body []byte) (out []byte, left bool) {
	index, kept := 0, 0
	each(body, func(field protowire.Number, whole, value []byte) {
		if !w.form.isPart(field) {
			out = append(out, whole...)
			return
		}
		p := Part{Name: textField(value, w.form.name), Hash: partHash(value), Group: w.group, Index: index, body: value}
		if part := w.visit(p); part != nil {
			out = appendMessage(out, field, part)
			kept++
		}
		index++
	})
	return out, index == 0 || kept > 0
}

func (form partsOf) isPart(field protowire.Number) bool {
	for _, n := range form.parts {
		if n == field {
			return true
		}
	}
	return false
}

// each visits the fields of an encoded message: each as a whole, and its value if that is bytes. The bytes are ours, so
// they are well-formed; what is not ends the visit.
func each(message []byte, visit func(field protowire.Number, whole, value []byte)) {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		size := protowire.ConsumeFieldValue(field, kind, message[n:])
		if size < 0 {
			return
		}
		var value []byte
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(message[n:])
		}
		visit(field, message[:n+size], value)
		message = message[n+size:]
	}
}

func textField(message []byte, wanted protowire.Number) (text string) {
	each(message, func(field protowire.Number, _, value []byte) {
		if field == wanted {
			text = string(value)
		}
	})
	return text
}
