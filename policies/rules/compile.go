package rules

import (
	"fmt"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"

	"gatehouse/policies/verdict"
)

// compiled is a rule that is ready to run.
type compiled struct {
	name        string
	each        []steps
	variables   []variable
	validations []validation
}

type variable struct {
	name    string
	program cel.Program
}

type validation struct {
	holds   cel.Program
	message cel.Program // nil if the text is enough.
	scope   cel.Program // nil if the problem is about the whole object.
	text    string
	problem verdict.Problem
}

// newEnv returns the CEL environment of the API server that this release is built for, with the variables of rules. It
// includes the function libraries and the cost limit of one call.
func newEnv() (*cel.Env, error) {
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions: []cel.EnvOption{
			cel.Variable("self", cel.DynType),
			cel.Variable("item", cel.DynType),
			cel.Variable("index", cel.IntType),
			cel.Variable("indexes", cel.ListType(cel.IntType)),
			cel.Variable("variables", cel.DynType),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making the CEL environment of rules: %w", err)
	}
	env, err := set.Env(environment.StoredExpressions)
	if err != nil {
		return nil, fmt.Errorf("making the CEL environment of rules: %w", err)
	}
	return env, nil
}

func compile(env *cel.Env, r *Rule) (*compiled, error) {
	each, err := parseEach(r.Each)
	if err != nil {
		return nil, err
	}
	c := &compiled{name: r.Name, each: each}
	for i, v := range r.Variables {
		program, err := program(env, v.Expression, nil)
		if err != nil {
			return nil, fmt.Errorf("variables[%d].expression: %w", i, err)
		}
		c.variables = append(c.variables, variable{name: v.Name, program: program})
	}
	for i := range r.Validations {
		v, err := compileValidation(env, &r.Validations[i])
		if err != nil {
			return nil, fmt.Errorf("validations[%d].%w", i, err)
		}
		c.validations = append(c.validations, v)
	}
	return c, nil
}

func compileValidation(env *cel.Env, v *Validation) (validation, error) {
	out := validation{text: v.Message, problem: verdict.Problem{
		Field: v.FieldPath, Reason: v.Reason, Condition: v.Condition, Weight: weights[v.Weight],
	}}
	var err error
	if out.holds, err = program(env, v.Expression, cel.BoolType); err != nil {
		return out, fmt.Errorf("expression: %w", err)
	}
	if v.MessageExpression != "" {
		if out.message, err = program(env, v.MessageExpression, cel.StringType); err != nil {
			return out, fmt.Errorf("messageExpression: %w", err)
		}
	}
	if v.Scope != "" {
		if out.scope, err = program(env, v.Scope, nil); err != nil {
			return out, fmt.Errorf("scope: %w", err)
		}
	}
	return out, nil
}

// program compiles an expression of a type; nil means any.
func program(env *cel.Env, expression string, want *cel.Type) (cel.Program, error) {
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, fmt.Errorf("%q does not compile: %w", expression, issues.Err())
	}
	if want != nil && !ast.OutputType().IsExactType(want) {
		return nil, fmt.Errorf("%q is of type %s: write an expression of type %s", expression, ast.OutputType(), want)
	}
	p, err := env.Program(ast)
	if err != nil {
		return nil, fmt.Errorf("%q cannot be run: %w", expression, err)
	}
	return p, nil
}
