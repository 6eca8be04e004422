package webhook

import "fmt"

// The limits for decoding, in tokens. One token makes an entry of a list or map, which takes far more memory than its
// text: up to 512 bytes, and up to 2.25 times that while its list grows.
const (
	// maxTokens is the limit for an object: one for every 6 bytes of the 1.5 MiB that etcd stores. Names with values,
	// the densest lists in our kinds, have one for every 8 bytes, and their managed fields one for every 7. An object
	// with the maximum takes at most 288 MiB.
	maxTokens = 1 << 18
	// maxReviewTokens is the limit for a review: an old and a new object, and the rest, which is mostly the groups of a
	// user.
	maxReviewTokens = 2*maxTokens + 1<<14
	// fewTokens is the limit for a request that is judged in parallel with others. A request with that many takes at
	// most 36 MiB. Objects rarely have more.
	fewTokens = 1 << 15
	// maxEntries is the maximum number of objects in a list in a spec of Gateway API: the largest maxItems in its CRDs.
	// Lists of texts may have more. A trial relies on these limits, and a client of the webhook may send objects that
	// no CRD has checked.
	maxEntries = 64
	// maxAllEntries is the maximum number of objects in all lists of such a spec together. The CRDs allow most for an
	// HTTPRoute, 26,000: 256 backends with 16 filters and 64 headers each, the same for each rule, and 128 matches of
	// 32.
	maxAllEntries = 1 << 15
)

// tokens counts the objects, lists and further entries of both in a JSON text.
func tokens(text []byte) (count int) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && (c == '{' || c == '[' || c == ','):
			count++
		}
	}
	return count
}

// fits returns an error if a JSON text has too many tokens.
func fits(name string, text []byte, limit int) error {
	if count := tokens(text); count > limit {
		return fmt.Errorf("%s has %d fields and items of lists, of which at most %d are taken: split the object into smaller ones", name, count, limit)
	}
	return nil
}

// entryCount is the number of entries of the longest list, and of all lists together. It ignores lists of plain values.
type entryCount struct{ longest, all int }

// entriesOf counts the entries of a value and of everything in it.
func entriesOf(value any) (e entryCount) {
	switch value := value.(type) {
	case map[string]any:
		for name, each := range value {
			if name != "matchExpressions" { // These are in label selectors, which no schema limits.
				e.add(entriesOf(each))
			}
		}
	case []any:
		for _, each := range value {
			switch each.(type) {
			case nil, map[string]any, []any:
				e.longest = max(e.longest, len(value))
				e.all++
				e.add(entriesOf(each))
			}
		}
	}
	return e
}

func (e *entryCount) add(inner entryCount) {
	e.longest = max(e.longest, inner.longest)
	e.all += inner.all
}

// uncut returns an error if a spec of Gateway API has longer lists than any of its schemas allows.
func uncut(spec any) error {
	e := entriesOf(spec)
	if e.longest > maxEntries {
		return fmt.Errorf("spec has a list of %d objects, and no schema of Gateway API takes more than %d: install the CRDs of the release", e.longest, maxEntries)
	}
	if e.all > maxAllEntries {
		return fmt.Errorf("spec has lists of %d objects, and no schema of Gateway API takes more than %d: install the CRDs of the release", e.all, maxAllEntries)
	}
	return nil
}
