package feature

import (
	"fmt"
	"regexp"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// Invalid is a problem that makes the whole policy unusable. Field is the path from spec on; the message, in fmt's
// form, names the value and the way out.
func Invalid(field, message string, args ...any) verdict.Problem {
	return verdict.Problem{
		Field:   field,
		Reason:  string(gwapiv1.PolicyReasonInvalid),
		Message: fmt.Sprintf(message, args...),
		Weight:  verdict.Invalid,
	}
}

// Incompatible is a problem of filters of a rule that exclude each other.
func Incompatible(field, message string, args ...any) verdict.Problem {
	p := Invalid(field, message, args...)
	p.Reason = string(gwapiv1.RouteReasonIncompatibleFilters)
	return p
}

// ConditionFields is False on a policy of which some fields have no effect.
const ConditionFields = "FieldsEffective"

// WithoutEffect is a problem of a field that has no effect where it stands. The rest of the policy takes effect.
func WithoutEffect(field, reason, message string, args ...any) verdict.Problem {
	return verdict.Problem{
		Field: field, Reason: reason, Condition: ConditionFields, Weight: verdict.Unresolved,
		Message: fmt.Sprintf(message, args...),
	}
}

// token is what RFC 9110 section 5.6.2 allows in the name of a header field and in a method.
var token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// CheckToken finds what is not a token. What says what it stands for, such as name of a header.
func CheckToken(field, value, what string) []verdict.Problem {
	if token.MatchString(value) {
		return nil
	}
	return []verdict.Problem{Invalid(field, "%q cannot be the %s: use letters, digits and any of !#$%%&'*+-.^_`|~ only",
		value, what)}
}

// CheckHeaderNames finds names in a list that no HTTP header can have.
func CheckHeaderNames(field string, names []string) []verdict.Problem {
	var problems []verdict.Problem
	for i, name := range names {
		problems = append(problems, CheckHeaderName(fmt.Sprintf("%s[%d]", field, i), name)...)
	}
	return problems
}

// CheckHeaderName finds a name that no HTTP header can have.
func CheckHeaderName(field, name string) []verdict.Problem {
	return CheckToken(field, name, "name of a header")
}
