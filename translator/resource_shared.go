package translator

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// fieldFilterConfigs is RouteConfiguration.typed_per_filter_config.
const fieldFilterConfigs protowire.Number = 16

// Routes rest on the configurations of filters in their route configuration (decision 053). Each of these
// configurations is a part of the resource: it is tried and rejected like a route, but no route that rests on it is
// sent without it.

// shared returns the parts on which all others rest.
func (r *Resource) shared(form partsOf) (parts []Part) {
	if form.shared == 0 {
		return nil
	}
	each(r.Body(), func(field protowire.Number, _, value []byte) {
		if field == form.shared {
			parts = append(parts, sharedPart(value))
		}
	})
	return parts
}

// sharedPart is an entry of a map from names of filters to configurations.
func sharedPart(entry []byte) Part {
	return Part{Name: ":shared/" + textField(entry, 1), Hash: partHash(entry), Shared: true, body: entry}
}

func (p Part) sameName(o Part) bool { return p.Name == o.Name }

// onOld returns old with the kept shared parts of the resource, and with its other parts unchanged. It returns old
// itself, which may be nil, if this makes no difference.
func (r *Resource) onOld(form partsOf, keep func(hash string) bool, old *Resource) *Resource {
	kept := slices.DeleteFunc(r.shared(form), func(p Part) bool { return !keep(p.Hash) })
	if len(kept) == 0 {
		return old
	}
	var body []byte
	if old == nil {
		each(r.Body(), func(field protowire.Number, whole, _ []byte) {
			if field != form.way[0] && field != form.shared {
				body = append(body, whole...)
			}
		})
		return encodedResource(r.Type, r.Name, appendShared(body, form, kept), r.Needs)
	}
	each(old.Body(), func(field protowire.Number, whole, value []byte) {
		i := -1
		if field == form.shared {
			i = slices.IndexFunc(kept, sharedPart(value).sameName)
		}
		if i < 0 {
			body = append(body, whole...)
			return
		}
		body = appendMessage(body, field, kept[i].body)
		kept = slices.Delete(kept, i, i+1)
	})
	if body = appendShared(body, form, kept); bytes.Equal(body, old.Body()) {
		return old
	}
	return encodedResource(r.Type, r.Name, body, old.Needs)
}

func appendShared(body []byte, form partsOf, parts []Part) []byte {
	for _, p := range parts {
		body = appendMessage(body, form.shared, p.body)
	}
	return body
}
