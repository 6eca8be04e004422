package regex

import (
	"regexp/syntax"
	"unicode"
)

const (
	// overhead are the instructions of every program: to fail, to match, and to begin anywhere.
	overhead = 8
	// enough is where counting stops, far above MaxProgram.
	enough = 1 << 30
)

// measure computes the size of RE2's program for an expression. RE2 matches bytes: a rune is the sequence of its UTF-8
// bytes, a class consists of alternatives of such sequences.
type measure struct {
	// edges are the bytes at which a class of bytes begins: some instruction distinguishes them from the byte before.
	edges [257]bool
	// times is how often the surrounding expressions repeat the current one.
	times int
}

// size counts instructions. It does not subtract what RE2 saves by sharing.
func (m *measure) size(re *syntax.Regexp) int {
	switch re.Op {
	case syntax.OpLiteral:
		n := 0
		for _, r := range re.Rune {
			n += m.literal(r, re.Flags&syntax.FoldCase != 0)
		}
		return n
	case syntax.OpCharClass:
		return m.class(re.Rune...)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		m.edge('\n', '\n')
		return m.class(0, '\n'-1, '\n', unicode.MaxRune)
	case syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		for _, word := range [][2]byte{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}} {
			m.edge(word[0], word[1])
		}
		return 1
	case syntax.OpBeginLine, syntax.OpEndLine:
		m.edge('\n', '\n')
		return 1
	case syntax.OpRepeat:
		return min(m.repeated(re), enough)
	}
	n := 2 // The two ends of a group, or a choice and its target.
	for _, sub := range re.Sub {
		n = min(n+m.size(sub)+1, enough)
	}
	return n
}

// maxTimes is the maximum number of repetitions in RE2, for all nested repeats together.
const maxTimes = 1000

// repeated counts a repeated expression as many times as it is repeated.
func (m *measure) repeated(re *syntax.Regexp) int {
	most := max(re.Min, re.Max)
	around := m.times
	m.times *= max(most, 1)
	defer func() { m.times = around }()
	if m.times > maxTimes {
		return enough
	}
	once := m.size(re.Sub[0]) + 2
	if re.Max < 0 {
		most++
	}
	return once * max(most, 1)
}

func (m *measure) literal(r rune, folded bool) int {
	n := m.class(r, r)
	if !folded {
		return n
	}
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		if more := m.class(other, other); other > unicode.MaxASCII || r > unicode.MaxASCII {
			n += more + 1 // One more choice; an ASCII letter in both cases is one instruction.
		}
	}
	return n
}

// class counts the instructions for a class of runes, given as the first and the last rune of each range. Sequences
// share common endings.
func (m *measure) class(ranges ...rune) int {
	n, seen := 0, map[sequence]bool{}
	for i := 0; i+1 < len(ranges); i += 2 {
		split(ranges[i], ranges[i+1], func(s sequence) {
			for s.length > 0 {
				m.edge(s.from[0], s.to[0])
				if !s.shared || !seen[s] {
					n++
				}
				seen[s] = s.shared
				s = s.tail()
			}
		})
	}
	return max(n, 1)
}

func (m *measure) edge(from, to byte) { m.edges[from], m.edges[int(to)+1] = true, true }

// sequence is a range of runes in which each byte of the encoding has its own range.
type sequence struct {
	from, to [4]byte
	length   int
	// shared reports whether RE2 uses one instruction for the first byte of all equal sequences: the byte ends a rune,
	// or is in its middle and is a range.
	shared bool
}

func (s sequence) tail() sequence {
	t := sequence{length: s.length - 1}
	copy(t.from[:], s.from[1:])
	copy(t.to[:], s.to[1:])
	t.shared = t.length == 1 || t.from[0] < t.to[0]
	return t
}

// split divides a range of runes into sequences.
func split(lo, hi rune, visit func(sequence)) {
	for _, last := range []rune{0x7f, 0x7ff, 0xffff} {
		if lo <= last && last < hi {
			split(lo, last, visit)
			split(last+1, hi, visit)
			return
		}
	}
	if hi > 0x7f {
		for shift := 6; shift <= 18; shift += 6 {
			low := rune(1)<<shift - 1
			if lo&^low == hi&^low {
				break
			}
			if lo&low != 0 {
				split(lo, lo|low, visit)
				split((lo|low)+1, hi, visit)
				return
			}
			if hi&low != low {
				split(lo, hi&^low-1, visit)
				split(hi&^low, hi, visit)
				return
			}
		}
	}
	var s sequence
	s.from, s.length = encode(lo)
	s.to, _ = encode(hi)
	visit(s)
}

// encode is UTF-8 for every number up to the last rune, including surrogates, as in RE2.
func encode(r rune) (bytes [4]byte, length int) {
	const more, tail = 0x80, 0x3f
	switch {
	case r <= 0x7f:
		return [4]byte{byte(r)}, 1
	case r <= 0x7ff:
		return [4]byte{0xc0 | byte(r>>6), more | byte(r&tail)}, 2
	case r <= 0xffff:
		return [4]byte{0xe0 | byte(r>>12), more | byte(r>>6&tail), more | byte(r&tail)}, 3
	}
	return [4]byte{0xf0 | byte(r>>18), more | byte(r>>12&tail), more | byte(r>>6&tail), more | byte(r&tail)}, 4
}

// The memory that RE2 uses, in bytes: for every expression, for each instruction in the program and in the tree, and
// for each state of the automaton that finds groups. This automaton has a word for each class of bytes and is not made
// if it would take more than maxAutomaton.
const (
	perExpression  = 1 << 10
	perInstruction = 32
	maxAutomaton   = 3 << 19
)

func (m *measure) memory(program int) int64 {
	classes := 1
	for _, edge := range m.edges {
		if edge {
			classes++
		}
	}
	automaton := int64(program) * int64(8+4*classes)
	return perExpression + perInstruction*int64(program) + min(automaton, maxAutomaton)
}
