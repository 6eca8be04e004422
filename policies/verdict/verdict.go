// Package verdict has the problems that Gatehouse reports about an object, each with the field, the value and how to
// fix it.
//
// The same problem has the same text at admission, in a status condition, in a log line and in a review of files.
package verdict

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Weight is how bad a problem is. It decides what admission answers.
type Weight uint8

const (
	// Invalid can never work as written, or refers to existing content that is broken. Admission denies it.
	Invalid Weight = iota + 1
	// Unresolved refers to something that does not exist yet and may still appear. Admission warns.
	Unresolved
	// Conflicted has lost against another, older object. Admission warns.
	Conflicted
	// Notice is not a problem of the object, but something that the author of a change should know: a consequence for
	// the object, or what will become a problem. Admission warns, however strict it is. In a status it is only in
	// conditions that are about nothing else.
	Notice
)

// String is the word used for the weight in messages and metrics.
func (w Weight) String() string {
	switch w {
	case Invalid:
		return "Invalid"
	case Unresolved:
		return "Unresolved"
	case Conflicted:
		return "Conflicted"
	case Notice:
		return "Notice"
	}
	return "Unknown"
}

// Ref identifies one Kubernetes object. It is comparable and serves as a key.
type Ref struct {
	Group, Kind, Namespace, Name string
}

// String is kind/namespace/name, or kind/name of a cluster-scoped object.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// Problem is one thing that is wrong with an object.
type Problem struct {
	// Field is the path of the field with the problem, such as spec.rules[0].matches[1].path.value.
	Field string
	// Reason is the reason of the condition that reports it, in Gateway API's words if it has one.
	Reason string
	// Condition is the type of the condition that turns False; empty means Accepted.
	Condition string
	// Message is one line that names the value and how to fix it. It does not repeat Field.
	Message string
	// Weight decides what admission answers.
	Weight Weight
	// Missing names the object whose absence is the problem, for admission to confirm by a live read; nil if none is
	// missing.
	Missing *Ref
	// Pending reports whether the control plane works on it as soon as the object is stored, and only then. Admission
	// denies no object for it, however strict it is.
	Pending bool
	// About is the object that Message describes, if Message names nothing else: whoever writes that object may read the
	// message, whoever's problem it is. It is nil if Message tells something about the object with the problem too.
	About *Ref
	// Loss is what the object with the problem loses, for a user who caused it and may not know the object. It follows
	// "would lose", and speaks of the object as "its". Empty means no more than the reason says.
	Loss string
	// Scope limits the problem to one part of the object's status: the listener's name, the parentRef's or the
	// ancestor's index in the text form that the translation uses. Empty means the whole object.
	Scope string
}

// String is the line that users read everywhere.
func (p Problem) String() string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// same is the part of a problem that the reader sees; all other fields are only about its handling.
type same struct {
	field, reason, message string
	weight                 Weight
}

func (p Problem) same() same { return same{p.Field, p.Reason, p.Message, p.Weight} }

// At puts a path before the fields of the problems, which are relative to it.
func At(path string, problems []Problem) []Problem {
	for i := range problems {
		problems[i].Field = strings.TrimSuffix(path+"."+problems[i].Field, ".")
	}
	return problems
}

// Added lists the problems of now that before did not have, each once, in the order of now. A problem that has only
// moved to another place of a list is not new.
func Added(before, now []Problem) []Problem {
	had, moved := make(map[same]bool, len(before)), map[same]int{}
	for _, p := range before {
		if !had[p.same()] {
			had[p.same()] = true
			moved[p.anywhere()]++
		}
	}
	var fresh, added []Problem
	seen := make(map[same]bool, len(now))
	for _, p := range now {
		switch {
		case seen[p.same()]:
		case had[p.same()]:
			moved[p.anywhere()]--
		default:
			fresh = append(fresh, p)
		}
		seen[p.same()] = true
	}
	for _, p := range fresh {
		if moved[p.anywhere()]--; moved[p.anywhere()] < 0 {
			added = append(added, p)
		}
	}
	return added
}

// anywhere is the same problem at any place of the lists that its field leads through.
func (p Problem) anywhere() same {
	s := p.same()
	s.field = places.ReplaceAllString(s.field, "[]")
	return s
}

var places = regexp.MustCompile(`\[[0-9]+\]`)

// Known reports whether one of the problems is at the same place for the same reason and as bad, in whatever words. An
// object that has not changed itself has no second problem there.
func Known(problems []Problem, p Problem) bool {
	return slices.ContainsFunc(problems, func(o Problem) bool {
		return o.Field == p.Field && o.Reason == p.Reason && o.Weight == p.Weight && o.Scope == p.Scope &&
			o.Condition == p.Condition
	})
}

// Has reports whether any of the problems has the weight.
func Has(problems []Problem, w Weight) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Weight == w })
}

// Sort orders problems by weight, field and message, so that the result does not depend on the order in which they were
// found.
func Sort(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Weight, b.Weight), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
}
