package verdict

import (
	"fmt"
	"strings"
)

// What several kinds of objects are told in the same words.

// ReasonNotGranted is Gateway API's reason for a reference into another namespace that no ReferenceGrant allows.
const ReasonNotGranted = "RefNotPermitted"

// NotGranted is the problem of a reference from one object to another that no ReferenceGrant allows.
func NotGranted(from, to Ref) Problem {
	return Problem{
		Reason: ReasonNotGranted, Weight: Unresolved,
		Message: fmt.Sprintf("%s %s/%s may not be used from namespace %q: create a ReferenceGrant in namespace %q from %s to %s",
			to.Kind, to.Namespace, to.Name, from.Namespace, to.Namespace, from.Kind, to.Kind),
	}
}

// Absent is the problem of a reference, in the field, to a missing object.
func Absent(field string, to Ref, reason string) Problem {
	where := ""
	if to.Namespace != "" {
		where = fmt.Sprintf(" in namespace %q", to.Namespace)
	}
	return Problem{
		Field: field, Reason: reason, Weight: Unresolved, Missing: &to,
		Message: fmt.Sprintf("no %s %q%s: create it or correct the name", to.Kind, to.Name, where),
	}
}

// WrongKind is the problem of a reference to a kind that cannot be or do something, in words that fit behind "cannot ",
// such as "be a backend". Instead is what to do, such as "refer to a Service".
func WrongKind(group, kind, something, instead string) Problem {
	return Problem{
		Weight:  Unresolved,
		Message: fmt.Sprintf("%q of group %q cannot %s: %s", kind, group, something, instead),
	}
}

// Or lists alternatives, with "or" before the last one.
func Or[T ~string](words []T) string {
	list := make([]string, len(words))
	for i, word := range words {
		list[i] = string(word)
	}
	last := len(list) - 1
	if last < 1 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:last], ", ") + " or " + list[last]
}
