package offline

import (
	"fmt"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"

	"gatehouse/policies/verdict"
)

// compiler compiles the expressions of a policy.
type compiler struct {
	*cel.CompositedCompiler
	// all are the variables that expressions can use.
	all cel.OptionalVariableDeclarations
	// problems are the expressions that cannot be compiled. The API server does not store a policy with one.
	problems []verdict.Problem
}

// check takes an expression that cannot be compiled as a problem.
func (c *compiler) check(field string, expression cel.ExpressionAccessor, with cel.OptionalVariableDeclarations) {
	c.take(field, c.CompileCELExpression(expression, with, environment.StoredExpressions))
}

func (c *compiler) take(field string, result cel.CompilationResult) {
	if result.Error != nil {
		c.problems = append(c.problems, refused(reasonPolicy, field, oneLine(result.Error)+": correct the expression"))
	}
}

// newCompiler returns a compiler that knows the variables of a policy.
func newCompiler(variables []admissionregv1.Variable, params bool) (*compiler, error) {
	composited, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	c := &compiler{CompositedCompiler: composited, all: cel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}}
	for i, each := range variables {
		variable := &validating.Variable{Name: each.Name, Expression: each.Expression}
		c.take(fmt.Sprintf("spec.variables[%d].expression", i), c.CompileAndStoreVariable(variable, c.all, environment.StoredExpressions))
	}
	return c, nil
}

// matcher decides by match conditions; nil if there are none.
func (c *compiler) matcher(conditions []admissionregv1.MatchCondition, failure *admissionregv1.FailurePolicyType,
	policy string,
) matchconditions.Matcher {
	if len(conditions) == 0 {
		return nil
	}
	var all []cel.ExpressionAccessor
	for i := range conditions {
		condition := (*matchconditions.MatchCondition)(&conditions[i])
		c.check(fmt.Sprintf("spec.matchConditions[%d].expression", i), condition, c.all)
		all = append(all, condition)
	}
	return matchconditions.NewMatcher(c.CompileCondition(all, c.all, environment.StoredExpressions), failure, "policy",
		"validate", policy)
}

// compiled is a policy with its expressions compiled as the API server does it, and the problems of those that cannot be
// compiled. These are reported when a stored policy is evaluated too.
func compiled(policy *admissionregv1.ValidatingAdmissionPolicy) (validating.Validator, []verdict.Problem) {
	spec := &policy.Spec
	compiler, err := newCompiler(spec.Variables, spec.ParamKind != nil)
	if err != nil {
		return validating.NewValidator(nil, nil, nil, nil, spec.FailurePolicy, err), nil
	}
	all, ofMessages := compiler.all, cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil}
	matcher := compiler.matcher(spec.MatchConditions, spec.FailurePolicy, policy.Name)
	validations := make([]cel.ExpressionAccessor, len(spec.Validations))
	messages := make([]cel.ExpressionAccessor, len(spec.Validations)) // Validations without an expression have none.
	for i, each := range spec.Validations {
		validations[i] = &validating.ValidationCondition{
			Expression: each.Expression, Message: each.Message, Reason: each.Reason,
		}
		compiler.check(fmt.Sprintf("spec.validations[%d].expression", i), validations[i], all)
		if each.MessageExpression != "" {
			messages[i] = &validating.MessageExpressionCondition{MessageExpression: each.MessageExpression}
			compiler.check(fmt.Sprintf("spec.validations[%d].messageExpression", i), messages[i], ofMessages)
		}
	}
	annotations := make([]cel.ExpressionAccessor, len(spec.AuditAnnotations))
	for i, each := range spec.AuditAnnotations {
		annotations[i] = &validating.AuditAnnotationCondition{Key: each.Key, ValueExpression: each.ValueExpression}
		compiler.check(fmt.Sprintf("spec.auditAnnotations[%d].valueExpression", i), annotations[i], all)
	}
	return validating.NewValidator(
		compiler.CompileCondition(validations, all, environment.StoredExpressions), matcher,
		compiler.CompileCondition(annotations, all, environment.StoredExpressions),
		compiler.CompileCondition(messages, ofMessages, environment.StoredExpressions), spec.FailurePolicy, nil), compiler.problems
}
