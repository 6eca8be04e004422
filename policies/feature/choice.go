package feature

import (
	"maps"
	"slices"
	"strings"

	"gatehouse/policies/verdict"
)

// CheckChoice finds a value that is none of the choices.
func CheckChoice[T ~string, V any](field string, value T, choices map[T]V) []verdict.Problem {
	if _, ok := choices[value]; ok {
		return nil
	}
	names := make([]string, 0, len(choices))
	for _, choice := range slices.Sorted(maps.Keys(choices)) {
		names = append(names, string(choice))
	}
	return []verdict.Problem{Invalid(field, "%q is not known: write %s", value, strings.Join(names, ", "))}
}
