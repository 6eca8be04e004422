package flow

import "math/bits"

// tableSet is a set of tables, by their numbers.
type tableSet []uint64

func newTableSet(tables int) tableSet { return make(tableSet, (tables+63)/64) }

func (s tableSet) add(table int32) { s[table/64] |= 1 << (table % 64) }

// next returns the first member that is not below a number, or -1. So a loop over the set also sees later tables that
// are added while it runs.
func (s tableSet) next(from int32) int32 {
	for word := int(from / 64); word < len(s); word++ {
		rest := s[word]
		if word == int(from/64) {
			rest &= ^uint64(0) << (from % 64)
		}
		if rest != 0 {
			return int32(word*64 + bits.TrailingZeros64(rest))
		}
	}
	return -1
}
