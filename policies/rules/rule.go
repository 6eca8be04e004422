package rules

import (
	"errors"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"gatehouse/policies/verdict"
)

// Rule is the content of a rule file. It uses the terms of a ValidatingAdmissionPolicy where they exist.
type Rule struct {
	// Name is the name of the file without .yaml.
	Name string `json:"name"`
	// About describes the rule for users in one sentence.
	About string `json:"about"`
	// Kinds are the kinds that the rule checks, in any version.
	Kinds []Kind `json:"kinds"`
	// Each lists paths such as spec.listeners[*]: the rule then checks every item that they lead to, and reports the
	// items that violate it. Lists may be nested. Without paths the object as a whole is checked.
	Each []string `json:"each,omitempty"`
	// Variables are computed when they are first used, once for each item, and are read as variables.<name>. A variable
	// may use those before it.
	Variables []Variable `json:"variables,omitempty"`
	// Validations are all evaluated, in order.
	Validations []Validation `json:"validations"`
}

// Kind is a kind of object.
type Kind struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
	// Resource is the kind's name in the paths of the API, such as gateways.
	Resource string `json:"resource"`
}

func (k Kind) groupKind() schema.GroupKind { return schema.GroupKind{Group: k.Group, Kind: k.Kind} }

// Variable is a named CEL expression.
type Variable struct {
	Name       string `json:"name"`
	Expression string `json:"expression"`
}

// Validation is one requirement.
//
// Expressions can use self (the object), variables and, in a rule with each, item, index (the index of the item in its
// list) and indexes (the indexes in all lists on the path, outermost first).
type Validation struct {
	// Expression is true for a valid object or item.
	Expression string `json:"expression"`
	// FieldPath is the field with the problem, relative to the item if the rule has each, otherwise to the object.
	FieldPath string `json:"fieldPath,omitempty"`
	// Message is one line that says how to fix the problem. It is used if the line needs no value, and if
	// MessageExpression fails.
	Message string `json:"message,omitempty"`
	// MessageExpression returns the line, with the value and how to fix it.
	MessageExpression string `json:"messageExpression,omitempty"`
	// Reason and Condition are for the status; an empty Condition means Accepted.
	Reason    string `json:"reason"`
	Condition string `json:"condition,omitempty"`
	// Scope is an expression for the part of the status that this is about, such as a listener's name.
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

// parse parses one rule. Unknown fields in the file are an error.
func parse(text []byte) (*Rule, error) {
	rule := &Rule{}
	if err := yaml.UnmarshalStrict(text, rule); err != nil {
		return nil, fmt.Errorf("the file is not one rule: %w", err)
	}
	return rule, rule.complete()
}

// complete reports missing parts of a rule. The compiler checks the expressions.
func (r *Rule) complete() error {
	switch {
	case !ruleName.MatchString(r.Name):
		return fmt.Errorf("name: %q is not a name: use lower-case letters, digits and dashes", r.Name)
	case r.About == "":
		return errors.New("about: missing: say in one sentence what the rule holds users to")
	case len(r.Kinds) == 0:
		return errors.New("kinds: missing: list the group and kind of what the rule checks")
	case len(r.Validations) == 0:
		return errors.New("validations: missing: write at least one")
	}
	for i, k := range r.Kinds {
		if k.Kind == "" {
			return fmt.Errorf("kinds[%d].kind: missing: write a kind such as Gateway", i)
		}
		if k.Resource == "" {
			return fmt.Errorf("kinds[%d].resource: missing: write the name of the kind in paths of the API, such as gateways", i)
		}
	}
	for i, v := range r.Variables {
		if !variableName.MatchString(v.Name) {
			return fmt.Errorf("variables[%d].name: %q is not a name: use letters and digits, a lower-case letter first", i, v.Name)
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
		return errors.New("message: missing: write message or messageExpression")
	case v.Reason == "":
		return errors.New("reason: missing: write the reason of the condition")
	case weights[v.Weight] == 0:
		return fmt.Errorf("weight: %q is not a weight: write Invalid, Unresolved or Conflicted", v.Weight)
	}
	return nil
}
