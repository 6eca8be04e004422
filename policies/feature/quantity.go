package feature

import (
	"k8s.io/apimachinery/pkg/api/resource"

	"gatehouse/policies/verdict"
)

// CheckQuantity finds a number of bytes that is out of range. Such as is an example of a right one.
func CheckQuantity(field string, q *resource.Quantity, least, most int64, suchAs string) []verdict.Problem {
	if q == nil || q.Value() >= least && q.Value() <= most {
		return nil
	}
	return []verdict.Problem{Invalid(field, "%s is out of range: write a number of bytes from %d to %d, such as %s", q,
		least, most, suchAs)}
}
