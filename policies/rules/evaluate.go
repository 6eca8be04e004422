package rules

import (
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/lazy"

	"gatehouse/policies/verdict"
)

// budget is the remaining cost for all rules on one object. The total is what the API server allows for all CEL of one
// custom resource.
type budget struct{ left uint64 }

func newBudget() *budget { return &budget{left: celconfig.RuntimeCELCostBudget} }

var errBudget = errors.New("the object is too large for the rules of its kind")

// run evaluates a program and subtracts its cost.
func (b *budget) run(p cel.Program, input map[string]any) (ref.Val, error) {
	if b.left == 0 {
		return nil, errBudget
	}
	value, details, err := p.Eval(input)
	if details != nil && details.ActualCost() != nil {
		b.left -= min(b.left, *details.ActualCost())
	}
	return value, err
}

// check runs the rule on every place that it is about. If the evaluation of a rule fails, the object counts as
// violating it, because Gatehouse must not serve an object that it could not judge.
func (c *compiled) check(self map[string]any, b *budget) []verdict.Problem {
	var problems []verdict.Problem
	for _, path := range c.each {
		for at := range path.places(self) {
			problems = append(problems, c.checkAt(self, at, b)...)
		}
	}
	return problems
}

func (c *compiled) checkAt(self map[string]any, at place, b *budget) []verdict.Problem {
	var problems []verdict.Problem
	input := c.input(self, at, b)
	for i := range c.validations {
		if p := c.validations[i].check(c.name, at, input, b); p != nil {
			problems = append(problems, *p)
		}
	}
	return problems
}

var variablesType = types.NewObjectType("gatehouse.variables")

func (c *compiled) input(self map[string]any, at place, b *budget) map[string]any {
	input := map[string]any{"self": self, "item": at.item, "index": at.index(), "indexes": at.indexes}
	variables := lazy.NewMapValue(variablesType)
	for _, v := range c.variables {
		variables.Append(v.name, func(*lazy.MapValue) ref.Val {
			value, err := b.run(v.program, input)
			if err != nil {
				return types.WrapErr(fmt.Errorf("variable %s: %w", v.name, err))
			}
			return value
		})
	}
	input["variables"] = variables
	return input
}

func (v *validation) check(rule string, at place, input map[string]any, b *budget) *verdict.Problem {
	field := at.field(v.problem.Field)
	value, err := b.run(v.holds, input)
	if err != nil {
		p := broken(field, "rule %s cannot judge this: %v: make the object simpler or report the rule", rule, err)
		return &p
	}
	if value == types.True {
		return nil
	}
	p := v.problem
	p.Field = field
	p.Message = v.words(input, b)
	if v.scope != nil {
		if scope, err := b.run(v.scope, input); err == nil {
			p.Scope = fmt.Sprint(scope.Value())
		}
	}
	return &p
}

// words returns the message of the expression, or else the rule's fixed one.
func (v *validation) words(input map[string]any, b *budget) string {
	if v.message == nil {
		return v.text
	}
	words, err := b.run(v.message, input)
	if text, ok := words.(types.String); ok && err == nil {
		return string(text)
	}
	if v.text != "" {
		return v.text
	}
	return fmt.Sprintf("a rule is not kept, and its message failed: %v: report the rule", err)
}

// broken is the problem of an object that could not be judged.
func broken(field, message string, args ...any) verdict.Problem {
	return verdict.Problem{
		Field: field, Reason: "Invalid", Weight: verdict.Invalid,
		Message: fmt.Sprintf(message, args...),
	}
}
