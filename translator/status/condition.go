// Package status turns problems into conditions, and merges what Gatehouse wants to say about an object into the status
// that the object has.
package status

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// maxMessage is the API's limit for the message of a condition. The API counts characters; these are bytes, which are
// never fewer.
const maxMessage = 32768

// Condition returns a condition whose status is True unless there are problems. Problems are its message, and the
// gravest of them gives the reason.
func Condition(kind, reason, message string, problems []verdict.Problem) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message}
	if len(problems) == 0 {
		return c
	}
	c.Status = metav1.ConditionFalse
	c.Reason = Reason(problems)
	c.Message = Message(problems)
	return c
}

// FalseOnly returns a condition that exists only while something is wrong.
func FalseOnly(kind string, problems []verdict.Problem) []metav1.Condition {
	if len(problems) == 0 {
		return nil
	}
	return []metav1.Condition{Condition(kind, "", "", problems)}
}

// True reports whether the condition of a type is True.
func True(conditions []metav1.Condition, kind string) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
		return c.Type == kind &&
			c.Status == metav1.ConditionTrue
	})
}

// Reason is the reason of the gravest of the problems.
func Reason(problems []verdict.Problem) string {
	return slices.MinFunc(problems, func(a, b verdict.Problem) int { return cmp.Compare(a.Weight, b.Weight) }).Reason
}

// Message is the text of all problems, one a line, cut at the API's limit.
func Message(problems []verdict.Problem) string {
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

// About returns the problems of one scope that turn a condition False. A problem without a condition is about Accepted.
func About(problems []verdict.Problem, condition, scope string) []verdict.Problem {
	var picked []verdict.Problem
	for _, p := range problems {
		if cmp.Or(p.Condition, string(gwapiv1.RouteConditionAccepted)) == condition && p.Scope == scope {
			picked = append(picked, p)
		}
	}
	return picked
}
