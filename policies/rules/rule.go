package rules

import (
	"errors"
	"fmt"
	"regexp"

	"sigs.k8s.io/yaml"

	"gatehouse/policies/verdict"
)

// Rule is what a file of rules says. Its words are those of a ValidatingAdmissionPolicy where that has them.
type Rule struct {
	// Name is the name of the file without .yaml.
	Name string `json:"name"`
	// About says in one sentence what the rule holds users to.
	About string `json:"about"`
	// Kinds are the kinds that the rule checks, whatever their version.
	Kinds []Kind `json:"kinds"`
	// Each are paths such as spec.listeners[*]: the rule then checks every item that they lead to, and says which of them are at
	// fault. Lists may be nested. None means that the object as a whole is checked.
	Each []string `json:"each,omitempty"`
	// Variables are computed when first used, once for each item, and read as variables.<name>. One may use those before it.
	Variables []Variable `json:"variables,omitempty"`
	// Validations are tried in order, all of them.
	Validations []Validation `json:"validations"`
}

// Kind is a kind of object.
type Kind struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
}

// Variable is a named CEL expression.
type Variable struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

// Validation is one thing that must hold.
//
// Expressions read self (the object), variables and, in a rule with each, item, index (of the item in its list) and indexes
// (those of all lists that the path leads through, outermost first).
type Validation struct {
	// Expression is true of an object or item that is fine.
	Expression string `json:"expression"`
	// FieldPath is the field at fault, from the item on if the rule has each, else from the object on.
	FieldPath string `json:"fieldPath,omitempty"`
	// Message is one line with the way out. It is for what needs no value, and for when MessageExpression fails.
	Message string `json:"message,omitempty"`
	// MessageExpression makes the line, with the value and the way out.
	MessageExpression string `json:"messageExpression,omitempty"`
	// Reason and Condition are what the status says; an empty Condition means Accepted.
	Reason    string `json:"reason"`
	Condition string `json:"condition,omitempty"`
	// Scope is an expression of the part of the status that this is about, such as a listener's name.
	Scope string `json:"scope,omitempty"`
	// Weight is Invalid, Unresolved or Conflicted; see package verdict.
	Weight string `json:"weight"`
}

var (
	ruleName     = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	variableName = regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`)
	weights      = map[string]verdict.Weight{
		verdict.Invalid.String():    verdict.Invalid,
		verdict.Unresolved.String(): verdict.Unresolved,
		verdict.Conflicted.String(): verdict.Conflicted,
	}
)

// parse reads one rule. What the file holds beyond a rule's fields is an error.
func parse(text []byte) (*Rule, error) {
	rule := &Rule{}
	if err := yaml.UnmarshalStrict(text, rule); err != nil {
		return nil, fmt.Errorf("the file is not one rule: %w", err)
	}
	return rule, rule.complete()
}

// complete finds what a rule lacks apart from its expressions, which the compiler judges.
func (r *Rule) complete() error {
	switch {
	case !ruleName.MatchString(r.Name):
		return fmt.Errorf("name: %q is no name; use lower-case letters, digits and dashes", r.Name)
	case r.About == "":
		return errors.New("about: missing; say in one sentence what the rule holds users to")
	case len(r.Kinds) == 0:
		return errors.New("kinds: missing; list the group and kind of what the rule checks")
	case len(r.Validations) == 0:
		return errors.New("validations: missing; write at least one")
	}
	for i, k := range r.Kinds {
		if k.Kind == "" {
			return fmt.Errorf("kinds[%d].kind: missing; write a kind such as Gateway", i)
		}
	}
	for i, v := range r.Variables {
		if !variableName.MatchString(v.Name) {
			return fmt.Errorf("variables[%d].name: %q is no name; use letters and digits, a lower-case letter first", i, v.Name)
		}
	}
	for i, v := range r.Validations {
		if err := v.complete(); err != nil {
			return fmt.Errorf("validations[%d].%w", i, err)
		}
	}
	return nil
}

func (v *Validation) complete() error {
	switch {
	case v.Message == "" && v.MessageExpression == "":
		return errors.New("message: missing; write message or messageExpression")
	case v.Reason == "":
		return errors.New("reason: missing; write the reason of the condition")
	case weights[v.Weight] == 0:
		return fmt.Errorf("weight: %q is no weight; write Invalid, Unresolved or Conflicted", v.Weight)
	}
	return nil
}
