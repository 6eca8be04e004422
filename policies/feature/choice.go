package feature

import (
	"maps"
	"slices"

	"gatehouse/api/v1alpha1"
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

var routingTypes = map[v1alpha1.RoutingType]bool{v1alpha1.ServiceRoutingType: true, v1alpha1.EndpointRoutingType: true}

// CheckRoutingType checks the routingType of a policy or of a fleet, which may be absent.
func CheckRoutingType(field string, chosen *v1alpha1.RoutingType) []verdict.Problem {
	if chosen == nil {
		return nil
	}
	return CheckChoice(field, *chosen, routingTypes)
}
