package feature

import (
	"maps"
	"slices"

	"gatehouse/policies/verdict"
)

// CheckChoice finds a value that is none of the choices.
func CheckChoice[T ~string, V any](field string, value T, choices map[T]V) []verdict.Problem {
	if _, ok := choices[value]; ok {
		return nil
	}
	return []verdict.Problem{Invalid(field, "%q is not known: write %s", value,
		verdict.Or(slices.Sorted(maps.Keys(choices))))}
}
