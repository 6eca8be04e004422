package translator

import (
	"encoding/json"
	"fmt"
	"slices"

	"gatehouse/policies/verdict"
)

// Status is what the translation concludes about one object: its problems, and what its status shall say.
type Status struct {
	// Object is what was judged: the informer's own.
	Object Object
	// Problems are all that was found, for admission and for logs.
	Problems []verdict.Problem
	// Desired is the status without times: *GatewayClassStatus, *GatewayStatus, *ListenerSetStatus, *RouteStatus or *PolicyStatus of Gateway API, or *BackendStatus of ours. It
	// is nil if nothing is to be written, as for a route of which no parent is ours.
	Desired any
	// encoded is Desired in JSON, to compare.
	encoded string
}

func newStatus(o Object, problems []verdict.Problem, desired any) *Status {
	encoded, err := json.Marshal(desired)
	if err != nil {
		panic(fmt.Sprintf("translator: marshal the status of %s: %v", keyOf(o), err)) // Plain structs always marshal.
	}
	return &Status{Object: o, Problems: problems, Desired: desired, encoded: string(encoded)}
}

func (s *Status) equal(o *Status) bool {
	return s.encoded == o.encoded && s.Object.GetGeneration() == o.Object.GetGeneration() &&
		s.Object.GetUID() == o.Object.GetUID() && equalProblems(s.Problems, o.Problems)
}

func equalProblem(a, b *verdict.Problem) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	if x.Missing != nil && y.Missing != nil && *x.Missing == *y.Missing {
		x.Missing, y.Missing = nil, nil
	}
	return x == y
}

func equalProblems(a, b []verdict.Problem) bool {
	return slices.EqualFunc(a, b, func(x, y verdict.Problem) bool { return equalProblem(&x, &y) })
}
