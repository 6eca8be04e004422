package feature

import (
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// Unread finds the fields of a spec that are not read, because they are not served yet, not known, or of a wrong type.
// Nothing is ever served as if such a field were not there. Consequence says what happens instead, as in "nothing that
// the policy covers is served".
func Unread(fields []v1alpha1.UnreadField, consequence string) []verdict.Problem {
	var problems []verdict.Problem
	for _, f := range fields {
		switch {
		case f.Failure != "":
			problems = append(problems, Invalid(f.Path, "%q cannot be read, so %s: %s: correct it", f.Name, consequence,
				f.Failure))
		case f.Known:
			problems = append(problems, Invalid(f.Path,
				"%q is not served yet, so %s: remove it if what it asks for is not needed", f.Name, consequence))
		case f.Nearest != "":
			problems = append(problems, Invalid(f.Path, "%q is not a known field, so %s: write %s or remove it", f.Name,
				consequence, f.Nearest))
		default:
			problems = append(problems, Invalid(f.Path, "%q is not a known field, so %s: remove it", f.Name, consequence))
		}
	}
	return problems
}
