package offline

import (
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
)

// compiled is a policy with its expressions compiled as the API server does it. An expression that cannot be compiled
// is reported when the policy is evaluated.
func compiled(policy *admissionregv1.ValidatingAdmissionPolicy) validating.Validator {
	spec := &policy.Spec
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return validating.NewValidator(nil, nil, nil, nil, spec.FailurePolicy, err)
	}
	all := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	ofMessages := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil}
	var variables []cel.NamedExpressionAccessor
	for _, each := range spec.Variables {
		variables = append(variables, &validating.Variable{Name: each.Name, Expression: each.Expression})
	}
	compiler.CompileAndStoreVariables(variables, all, environment.StoredExpressions)

	var matcher matchconditions.Matcher
	if len(spec.MatchConditions) > 0 {
		var conditions []cel.ExpressionAccessor
		for i := range spec.MatchConditions {
			conditions = append(conditions, (*matchconditions.MatchCondition)(&spec.MatchConditions[i]))
		}
		matcher = matchconditions.NewMatcher(compiler.CompileCondition(conditions, all, environment.StoredExpressions),
			spec.FailurePolicy, "policy", "validate", policy.Name)
	}
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
