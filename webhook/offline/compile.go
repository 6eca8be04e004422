package offline

import (
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
)

// compiler compiles the expressions of a policy.
type compiler struct {
	*cel.CompositedCompiler
	// all are the variables that expressions can use.
	all cel.OptionalVariableDeclarations
}

// newCompiler returns a compiler that knows the variables of a policy.
func newCompiler(variables []admissionregv1.Variable, params bool) (*compiler, error) {
	composited, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	c := &compiler{composited, cel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}}
	var named []cel.NamedExpressionAccessor
	for _, each := range variables {
		named = append(named, &validating.Variable{Name: each.Name, Expression: each.Expression})
	}
	c.CompileAndStoreVariables(named, c.all, environment.StoredExpressions)
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
		all = append(all, (*matchconditions.MatchCondition)(&conditions[i]))
	}
	return matchconditions.NewMatcher(c.CompileCondition(all, c.all, environment.StoredExpressions), failure, "policy",
		"validate", policy)
}

// compiled is a policy with its expressions compiled as the API server does it. An expression that cannot be compiled
// is reported when the policy is evaluated.
func compiled(policy *admissionregv1.ValidatingAdmissionPolicy) validating.Validator {
	spec := &policy.Spec
	compiler, err := newCompiler(spec.Variables, spec.ParamKind != nil)
	if err != nil {
		return validating.NewValidator(nil, nil, nil, nil, spec.FailurePolicy, err)
	}
	all, ofMessages := compiler.all, cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil}
	matcher := compiler.matcher(spec.MatchConditions, spec.FailurePolicy, policy.Name)
	validations := make([]cel.ExpressionAccessor, len(spec.Validations))
	messages := make([]cel.ExpressionAccessor, len(spec.Validations)) // Validations without an expression have none.
	for i, each := range spec.Validations {
		validations[i] = &validating.ValidationCondition{
			Expression: each.Expression, Message: each.Message, Reason: each.Reason,
		}
		if each.MessageExpression != "" {
			messages[i] = &validating.MessageExpressionCondition{MessageExpression: each.MessageExpression}
		}
	}
	annotations := make([]cel.ExpressionAccessor, len(spec.AuditAnnotations))
	for i, each := range spec.AuditAnnotations {
		annotations[i] = &validating.AuditAnnotationCondition{Key: each.Key, ValueExpression: each.ValueExpression}
	}
	return validating.NewValidator(
		compiler.CompileCondition(validations, all, environment.StoredExpressions), matcher,
		compiler.CompileCondition(annotations, all, environment.StoredExpressions),
		compiler.CompileCondition(messages, ofMessages, environment.StoredExpressions), spec.FailurePolicy, nil)
}
