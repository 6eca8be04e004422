// Package regex checks regular expressions of users before anything compiles them: whether they are valid RE2, and what
// they cost Envoy. The package compiles no expression, and bounds the cost of parsing one in advance.
package regex

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"
)

// MaxProgram is the maximum number of instructions of RE2 for an expression, by our count, which is never less than
// RE2's. The longest value that Gateway API allows (4,096 bytes) fits as plain text. Up to this limit, Envoy lets RE2
// use 8 MiB for the work on one expression, and above it more.
const MaxProgram = 8192

// maxShown is the maximum length of an expression in a message, in bytes.
const maxShown = 256

// Check returns an error if an expression cannot be used: one line with the expression, the limit if there is one, and
// how to fix it.
func Check(expression string) error {
	_, err := Measure(expression)
	return err
}

// Cost is the cost of an expression in Envoy.
type Cost struct {
	// Program is the number of RE2's instructions.
	Program int
	// Memory is what Envoy stores for it, in bytes, before any request is matched.
	Memory int64
}

// Measure returns an upper bound of an expression's cost, or an error if it cannot be used.
func Measure(expression string) (Cost, error) {
	look := scan(expression)
	if look.effort > MaxEffort {
		return Cost{}, fmt.Errorf("regular expression %s needs %d steps to be read, and %d are the most: use fewer Unicode classes and narrower ranges",
			shown(expression), look.effort, MaxEffort)
	}
	for _, name := range look.classes {
		if !known(name) {
			return Cost{}, fmt.Errorf("regular expression %s is not valid RE2: no Unicode class is named %q: write a category such as L or Lu, or a script such as Greek",
				shown(expression), name)
		}
	}
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return Cost{}, unreadable(expression, err)
	}
	if look.wide != "" {
		return Cost{}, fmt.Errorf("regular expression %s names the character %s by its number, and Envoy knows numbers of bytes only: write the character itself",
			shown(expression), look.wide)
	}
	m := &measure{times: 1}
	program := m.size(tree) + overhead
	if program > MaxProgram {
		return Cost{}, tooLarge(expression, fmt.Sprint(program))
	}
	return Cost{Program: program, Memory: m.memory(program)}, nil
}

// unreadable describes the error of the parser, without the quoted part of the expression if that is long.
func unreadable(expression string, err error) error {
	what := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	var mistake *syntax.Error
	if errors.As(err, &mistake) {
		if mistake.Code == syntax.ErrLarge || mistake.Code == syntax.ErrNestingDepth {
			return tooLarge(expression, "many more")
		}
		if len(mistake.Expr) > maxShown {
			what = mistake.Code.String()
		}
	}
	return fmt.Errorf("regular expression %s is not valid RE2: %s: correct it (RE2 has no look-around and no back-references)", shown(expression), what)
}

func tooLarge(expression, program string) error {
	return fmt.Errorf("regular expression %s needs a program of %s instructions, and %d are the most: repeat less, or match a prefix instead",
		shown(expression), program, MaxProgram)
}

// shown is an expression in quotes, without the middle if it is long.
func shown(expression string) string {
	if len(expression) <= maxShown {
		return fmt.Sprintf("%q", expression)
	}
	half := maxShown / 2
	return fmt.Sprintf("%q", strings.ToValidUTF8(expression[:half],
		"")+"…"+strings.ToValidUTF8(expression[len(expression)-half:], ""))
}
