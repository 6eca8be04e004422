package translator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

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

// maxMessage is the API's limit for the message of a condition, in bytes here, so surely kept in characters.
const maxMessage = 32768

// conditionOf makes a condition whose status is True unless there are problems; then the gravest gives the reason, and all the text.
func conditionOf(kind, reason, message string, problems []verdict.Problem) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message}
	if len(problems) == 0 {
		return c
	}
	c.Status = metav1.ConditionFalse
	c.Reason = gravest(problems).Reason
	c.Message = joinProblems(problems)
	return c
}

func gravest(problems []verdict.Problem) verdict.Problem {
	return slices.MinFunc(problems, func(a, b verdict.Problem) int { return cmp.Compare(a.Weight, b.Weight) })
}

func joinProblems(problems []verdict.Problem) string {
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.String()
	}
	text := strings.Join(lines, "\n")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "")
	}
	return text
}

// about picks the problems that turn a condition False, and of those the ones of a scope; the empty condition is Accepted.
func about(problems []verdict.Problem, condition, scope string) []verdict.Problem {
	var picked []verdict.Problem
	for _, p := range problems {
		if cmp.Or(p.Condition, string(gwapiv1.RouteConditionAccepted)) == condition && p.Scope == scope {
			picked = append(picked, p)
		}
	}
	return picked
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
