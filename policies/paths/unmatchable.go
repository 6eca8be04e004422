package paths

import (
	"strings"

	"gatehouse/policies/regex"
)

// A regular expression sees the path as Normal returns it, with its escapes in any case. An automaton accepts exactly
// these paths, so an expression none of whose matches it accepts never matches
// (docs/decisions/039-expressions-that-never-match.md).

// fault is what keeps a text from being a normal path.
type fault int

const (
	notAbsolute fault = iota
	withQuery
	withDots
	withEmptySegment
	escapedNeedlessly
	escapedSlash
	escapedBackslash
	escapedNUL
	unescaped
	incompleteEscape
	faults
)

// remedies say why a path has no such fault and what to write, as in Impossible.
var remedies = [faults]string{
	notAbsolute:       "each begins with a slash: begin the expression with one",
	withQuery:         "none has a query: match it by queryParams, or write %3F for the character",
	withDots:          "dot segments are resolved before: leave them out",
	withEmptySegment:  "slashes are merged before: write one",
	escapedNeedlessly: "characters that need no escape are unescaped before, such as %7E to ~: write the character itself",
	escapedSlash:      unmatched['/'],
	escapedBackslash:  unmatched['\\'],
	escapedNUL:        unmatched[0],
	unescaped:         "none has a character unescaped that a path cannot have: write its escape, such as %20",
	incompleteEscape:  "none has a % without two hexadecimal digits after it: write %25 instead",
}

// The states of the automaton: what the path ends with so far.
const (
	nothingYet = iota
	firstSlash
	twoSlashes // and nothing else, which is what is left of a path of slashes
	laterSlash
	oneDot  // in a segment that begins with it
	twoDots // in a segment that begins with them
	inSegment
	percentSign
	firstDigit                            // This one and the next are a percent sign with a digit, up to anyHigh.
	lost       = firstDigit + anyHigh + 1 // There is a fault.
	pathStates = lost + 1
	// anyHigh stands for every first digit of the escapes of what is not ASCII.
	anyHigh = 8
)

// reader reads normal paths, as if some faults were none.
type reader struct{ excused [faults]bool }

// on goes on in a state if the fault is excused.
func (p *reader) on(f fault, state int) int {
	if p.excused[f] {
		return state
	}
	return lost
}

func (p *reader) next(state int, r rune) int {
	switch {
	case state == lost:
		return lost
	case state == nothingYet && r == '/':
		return firstSlash
	case state == nothingYet:
		return p.on(notAbsolute, p.next(firstSlash, r))
	case state == twoSlashes:
		return p.on(withEmptySegment, p.next(laterSlash, r))
	case state >= percentSign:
		return p.escape(state, r)
	case r == '/':
		return p.slash(state)
	case r == '%':
		return percentSign
	case r == '.':
		return dot(state)
	}
	return p.plain(r)
}

// plain reads a character that is nothing but itself.
func (p *reader) plain(r rune) int {
	switch {
	case r == '?':
		return p.on(withQuery, inSegment)
	case r == '\\' || !inPath(byte(min(r, 0xff))) || strings.ContainsRune(escaped, r):
		return p.on(unescaped, inSegment)
	}
	return inSegment
}

func dot(state int) int {
	switch state {
	case firstSlash, laterSlash:
		return oneDot
	case oneDot:
		return twoDots
	}
	return inSegment
}

// slash ends a segment.
func (p *reader) slash(state int) int {
	switch state {
	case firstSlash:
		return twoSlashes
	case laterSlash:
		return p.on(withEmptySegment, laterSlash)
	case oneDot, twoDots:
		return p.on(withDots, laterSlash)
	}
	return laterSlash
}

// escape reads a digit of an escape.
func (p *reader) escape(state int, r rune) int {
	digit := strings.IndexByte(upperHex, upper(byte(min(r, 0xff))))
	if digit < 0 {
		return p.on(incompleteEscape, p.next(inSegment, r))
	}
	if state == percentSign {
		return firstDigit + min(digit, anyHigh)
	}
	switch decoded := byte((state-firstDigit)<<4 | digit); {
	case isUnreserved(decoded):
		return p.on(escapedNeedlessly, inSegment)
	case decoded == '/':
		return p.on(escapedSlash, inSegment)
	case decoded == '\\':
		return p.on(escapedBackslash, inSegment)
	case decoded == 0:
		return p.on(escapedNUL, inSegment)
	}
	return inSegment
}

// takes reports whether what ends in a state is a normal path.
func (p *reader) takes(state int) bool {
	switch {
	case state == lost:
		return false
	case state == nothingYet:
		return p.excused[notAbsolute]
	case state == oneDot, state == twoDots:
		return p.excused[withDots]
	case state >= percentSign:
		return p.excused[incompleteEscape]
	}
	return true
}

// automaton is an automaton with the states in which it takes a text.
type automaton struct {
	*regex.Automaton
	taken uint32
}

func newAutomaton(excused ...fault) automaton {
	p := &reader{}
	for _, f := range excused {
		p.excused[f] = true
	}
	a := automaton{Automaton: regex.NewAutomaton(pathStates, p.next)}
	for state := range pathStates {
		if p.takes(state) {
			a.taken |= 1 << state
		}
	}
	return a
}

// matches reports whether an expression may match a path. One that cannot be read has problems of its own.
func (a automaton) matches(expression string) bool {
	ends, err := a.Ends(expression)
	return err != nil || ends&a.taken != 0
}

// normal takes the paths as Envoy has them, faulty also those with one of the faults.
var (
	normal = newAutomaton()
	faulty = func() (all [faults]automaton) {
		for f := range faults {
			all[f] = newAutomaton(f)
		}
		return all
	}()
)

// maxExplained is how long an expression may be for its fault to be looked for, in bytes. It takes ten times the work
// of judging it.
const maxExplained = 256

// Unmatchable returns why a regular expression matches no path, if one fault explains it. It is empty for an expression
// that may match, and fits behind "matches no path, since ".
func Unmatchable(expression string) string {
	if normal.matches(expression) {
		return ""
	}
	for f, a := range faulty {
		if len(expression) <= maxExplained && a.matches(expression) {
			return remedies[f]
		}
	}
	return "paths are normalized before: write it as the access log shows it"
}
