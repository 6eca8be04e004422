package regex

import (
	"fmt"
	"math/bits"
	"regexp/syntax"
	"slices"
	"unicode"
)

// maxStates is the maximum number of states of an automaton.
const maxStates = 32

// Automaton reads a text rune by rune, and is in one of its states after each rune. It starts in state 0. All runes
// beyond ASCII are the same to it.
type Automaton struct {
	// kinds are the kinds of the ASCII runes; the last entry is the kind of all other runes. Runes of one kind have the
	// same effect in every state.
	kinds [unicode.MaxASCII + 2]int
	// steps are the effects of each kind.
	steps []relation
}

// NewAutomaton makes an automaton from a function that returns the state after a state and a rune. There are at most 32
// states. The function is called for the ASCII runes, and for unicode.MaxRune in place of all others.
func NewAutomaton(states int, next func(state int, r rune) int) *Automaton {
	a := &Automaton{}
	for i := range a.kinds {
		r := rune(i)
		if r > unicode.MaxASCII {
			r = unicode.MaxRune
		}
		var step relation
		for state := range states {
			step[state] = 1 << next(state, r)
		}
		kind := slices.Index(a.steps, step)
		if kind < 0 {
			kind = len(a.steps)
			a.steps = append(a.steps, step)
		}
		a.kinds[i] = kind
	}
	return a
}

// Ends returns the states in which the automaton can be at the end of a text that the whole expression matches: bit n
// is set for state n. No bit is set if there is no such text. Assertions such as \b count as true, so there may be too
// many states, but never too few. The work is bounded by the length of the expression, even if it has repeats.
func (a *Automaton) Ends(expression string) (uint32, error) {
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return 0, fmt.Errorf("reading the expression: %w", err)
	}
	return a.effect(tree)[0], nil
}

// effect is the effect of all texts that an expression matches.
func (a *Automaton) effect(re *syntax.Regexp) relation {
	switch re.Op {
	case syntax.OpNoMatch:
		return relation{}
	case syntax.OpLiteral:
		out := identity
		for _, r := range re.Rune {
			out = out.then(a.literal(r, re.Flags&syntax.FoldCase != 0))
		}
		return out
	case syntax.OpCharClass:
		return a.class(re.Rune...)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return a.class(0, unicode.MaxRune)
	case syntax.OpCapture:
		return a.effect(re.Sub[0])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		return a.repeated(re)
	case syntax.OpConcat:
		out := identity
		for _, sub := range re.Sub {
			out = out.then(a.effect(sub))
		}
		return out
	case syntax.OpAlternate:
		var out relation
		for _, sub := range re.Sub {
			out = out.or(a.effect(sub))
		}
		return out
	}
	return identity // The empty expression and assertions read nothing.
}

func (a *Automaton) repeated(re *syntax.Regexp) relation {
	once := a.effect(re.Sub[0])
	switch re.Op {
	case syntax.OpStar:
		return once.star()
	case syntax.OpPlus:
		return once.then(once.star())
	case syntax.OpQuest:
		return once.or(identity)
	}
	least := once.times(re.Min)
	if re.Max < 0 {
		return least.then(once.star())
	}
	return least.then(once.or(identity).times(re.Max - re.Min))
}

func (a *Automaton) literal(r rune, folded bool) relation {
	out := a.class(r, r)
	if !folded {
		return out
	}
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		out = out.or(a.class(other, other))
	}
	return out
}

// class is the effect of a class of runes, given as the first and the last rune of each range.
func (a *Automaton) class(ranges ...rune) (out relation) {
	const others = unicode.MaxASCII + 1
	var seen [others + 1]bool
	for i := 0; i+1 < len(ranges); i += 2 {
		for r := min(ranges[i], others); r <= min(ranges[i+1], others); r++ {
			if kind := a.kinds[r]; !seen[kind] {
				seen[kind] = true
				out = out.or(a.steps[kind])
			}
		}
	}
	return out
}

// relation has, for each state, the states that it may lead to, as bits.
type relation [maxStates]uint32

// identity keeps each state.
var identity = func() (out relation) {
	for i := range out {
		out[i] = 1 << i
	}
	return out
}()

func (r relation) or(o relation) relation {
	for i := range r {
		r[i] |= o[i]
	}
	return r
}

// then is the relation followed by another.
func (r relation) then(o relation) (out relation) {
	for i, set := range r {
		for ; set != 0; set &= set - 1 {
			out[i] |= o[bits.TrailingZeros32(set)]
		}
	}
	return out
}

// star is the relation any number of times.
func (r relation) star() relation {
	out := r.or(identity)
	for through := range out {
		for i := range out {
			if out[i]>>through&1 != 0 {
				out[i] |= out[through]
			}
		}
	}
	return out
}

// times is the relation n times.
func (r relation) times(n int) relation {
	out := identity
	for power := r; n > 0; n >>= 1 {
		if n&1 != 0 {
			out = out.then(power)
		}
		power = power.then(power)
	}
	return out
}
