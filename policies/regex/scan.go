package regex

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxEffort is the limit for the work of parsing one expression, see Effort.
const MaxEffort = 300_000

// classEffort is the work for a Unicode class, which has up to 700 ranges, in steps.
const classEffort = 5_000

// Effort is the approximate number of steps of the parser for an expression: for its bytes, for its Unicode classes,
// and for ranges for which the parser compares each rune in upper and lower case. It scans the text once.
func Effort(expression string) int { return scan(expression).effort }

// scanned is the result of a scan of an expression.
type scanned struct {
	effort int
	// classes are the names of the Unicode classes.
	classes []string
	// wide is the first rune that is written as a number above 255, with its notation.
	wide string
}

func scan(expression string) (s scanned) {
	s.effort = len(expression)
	folds := strings.Contains(expression, "(?") // Flags may make it ignore case.
	for rest := expression; rest != ""; {
		switch {
		case rest[0] == '\\':
			rest = s.escape(rest)
		case rest[0] == '-' && folds:
			rest = rest[1:]
			if end := rangeEnd(rest); end > unicode.MaxLatin1 {
				s.effort += int(end)
			}
		default:
			rest = rest[1:]
		}
	}
	return s
}

// escape reads a sequence that begins with a backslash and returns the text after it.
func (s *scanned) escape(text string) (rest string) {
	if len(text) < 2 {
		return ""
	}
	switch kind, rest := text[1], text[2:]; kind {
	case 'Q': // Everything is literal until \E.
		_, rest, _ = strings.Cut(rest, `\E`)
		return rest
	case 'x':
		if number, ok := bracedNumber(text); ok && number > unicode.MaxLatin1 && s.wide == "" {
			s.wide, _, _ = strings.Cut(text, "}")
			s.wide += "}"
		}
		return rest
	case 'p', 'P':
		s.effort += classEffort
		if inner, ok := strings.CutPrefix(rest, "{"); ok {
			name, rest, _ := strings.Cut(inner, "}")
			s.classes = append(s.classes, strings.TrimPrefix(name, "^"))
			return rest
		}
		_, size := utf8.DecodeRuneInString(rest)
		s.classes = append(s.classes, rest[:size])
		return rest[size:]
	default:
		return rest
	}
}

// bracedNumber is the number of an escape such as \x{10ffff}. An unreadable number counts as the largest; the parser
// will reject it.
func bracedNumber(text string) (number rune, ok bool) {
	hex, ok := strings.CutPrefix(text, `\x{`)
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(hex, "}")
	n, err := strconv.ParseInt(digits, 16, 32)
	if err != nil || n > unicode.MaxRune {
		return unicode.MaxRune, true
	}
	return rune(n), true
}

// rangeEnd is the last rune of a range, from the text after the dash. It knows the escapes for runes beyond a byte.
func rangeEnd(text string) rune {
	if number, ok := bracedNumber(text); ok {
		return number
	}
	if text == "" || text[0] < utf8.RuneSelf {
		return 0
	}
	end, _ := utf8.DecodeRuneInString(text)
	return end
}

// goOnly are classes that Go knows but Envoy's RE2 does not: Go's own, and the scripts of Unicode 16 and 17.
var goOnly = []string{
	"LC", "Cn", "ASCII", "Assigned",
	"Beria_Erfe", "Garay", "Gurung_Khema", "Kirat_Rai", "Ol_Onal", "Sidetic", "Sunuwar", "Tai_Yo", "Todhri", "Tolong_Siki",
	"Tulu_Tigalari",
}

// known reports whether RE2 knows a Unicode class with that name. Go's parser accepts more: other spellings, and its
// own classes.
func known(name string) bool {
	if name == "Any" {
		return true
	}
	if slices.Contains(goOnly, name) {
		return false
	}
	_, category := unicode.Categories[name]
	_, script := unicode.Scripts[name]
	return category || script
}
