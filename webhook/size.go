package webhook

import "fmt"

// The bounds of what is decoded, in tokens. One token makes an entry of a list or map, which takes far more memory than its text: up to 512 bytes,
// and up to 2.25 times that while its list grows.
const (
	// maxTokens is how many an object may have: one for every 6 bytes of the 1.5 MiB that etcd takes. Names with values, the densest lists in our
	// kinds, have one for every 8 bytes, and their managed fields one for every 7. An object of so many takes at most 288 MiB.
	maxTokens = 1 << 18
	// maxReviewTokens is how many a review may have: an old and a new object, and the rest, which is mostly the groups of a user.
	maxReviewTokens = 2*maxTokens + 1<<14
	// fewTokens is how many a request may have that is judged beside others. One of so many takes at most 36 MiB. Objects rarely have more.
	fewTokens = 1 << 15
	// maxEntries is how many objects a list in a spec of Gateway API may have: the largest maxItems in its CRDs. Lists of texts may have more. A trial
	// takes these limits for granted, and whoever reaches the webhook may send what no CRD has judged.
	maxEntries = 64
	// maxAllEntries is how many objects all lists of such a spec may have together. The CRDs let an HTTPRoute have most, 26,000: 256 backends with 16
	// filters and 64 headers each, as many for each rule, and 128 matches of 32.
	maxAllEntries = 1 << 15
)

// tokens is how many objects, lists and further entries of both a JSON text has.
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

// fits is an error if a JSON text has too many tokens.
func fits(name string, text []byte, limit int) error {
	if count := tokens(text); count > limit {
		return fmt.Errorf("%s has %d fields and items of lists, of which at most %d are taken; split the object into smaller ones", name, count, limit)
	}
	return nil
}

// entryCount is how many entries the longest list has, and all together, of lists that have anything but plain values.
type entryCount struct{ longest, all int }

// entriesOf counts them in a value and all that is in it.
func entriesOf(value any) (e entryCount) {
	switch value := value.(type) {
	case map[string]any:
		for name, each := range value {
			if name != "matchExpressions" { // Of a selector of labels, which no schema limits.
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

// uncut is an error if a spec of Gateway API has longer lists than any of its schemas takes.
func uncut(spec any) error {
	e := entriesOf(spec)
	if e.longest > maxEntries {
		return fmt.Errorf("spec has a list of %d objects, and no schema of Gateway API takes more than %d; install the CRDs of the release", e.longest, maxEntries)
	}
	if e.all > maxAllEntries {
		return fmt.Errorf("spec has lists of %d objects, and no schema of Gateway API takes more than %d; install the CRDs of the release", e.all, maxAllEntries)
	}
	return nil
}
