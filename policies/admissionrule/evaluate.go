package admissionrule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	celcommon "k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/lazy"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/verdict"
)

// Input is a request to create, update or delete an object. Objects are as JSON decodes them, with whole numbers as
// int64.
type Input struct {
	Resource Resource
	// Request is the request; its objects are not read.
	Request *admissionv1.AdmissionRequest
	// Object is nil for a deletion.
	Object map[string]any
	// OldObject is the object as it is stored; nil at creation.
	OldObject map[string]any
	// Namespace is that of the object; nil for objects without a namespace.
	Namespace *corev1.Namespace
	// Params finds ConfigMaps in a namespace, by their name if it is not empty, otherwise by the selector.
	Params func(namespace, name string, selector labels.Selector) ([]*corev1.ConfigMap, error)
	// Exceptions returns those of a namespace; nil if there are none at all. Now is the time at which they may have expired.
	Exceptions func(namespace string) []*Exception
	Now        time.Time
	// Effects returns what the request does to the effective configuration. It is called only if an expression that
	// reads effective is evaluated, and may be called several times.
	Effects func() (*Effects, error)
	// Form returns what mutations need to know of the kind of the object, in its version; nil if its CRD is not known.
	Form func() (*Form, error)
	// Patch makes the changes of mutations.
	Patch Patch

	// stored reports whether the rule is evaluated for what was there before the request.
	stored bool
}

// Finding is one requirement of a rule that an object violates.
type Finding struct {
	// Rule is the name of the rule.
	Rule     string
	Severity rulesv1alpha1.Severity
	// Problem has the field, the reason of the rule and its message. The message is one line, without the rule's name.
	verdict.Problem
	// Before reports whether the stored object violates the requirement too, with the same message. This is never a
	// reason to deny a change.
	Before bool
	// Failed reports whether the rule could not be evaluated.
	Failed bool
	// Excepted reports whether an AdmissionException allows it, and EndsSoon whether that ends soon. The message names
	// the exception.
	Excepted, EndsSoon bool
	// Effective reports whether the requirement is about the effective configuration.
	Effective bool
	// At is the field of the object that is closest to the violation. Only a Survey says it.
	At string
}

// Denies reports whether the object is refused for the finding.
func (f *Finding) Denies() bool {
	return f.Severity == rulesv1alpha1.SeverityDeny && !f.Before && !f.Excepted
}

// Audited reports whether only the audit log tells of the finding, and not the user.
func (f *Finding) Audited() bool {
	return !f.EndsSoon && (f.Excepted || f.Severity == rulesv1alpha1.SeverityAudit)
}

// Words is the message with the name of the rule, for users.
func (f *Finding) Words() string {
	words := fmt.Sprintf("rule %s: %s", f.Rule, f.Message)
	if f.Before && !f.Excepted && f.Severity == rulesv1alpha1.SeverityDeny {
		words += " (this was so before)"
	}
	return words
}

// violation is a finding with the requirement that it is about, which is nil if none could be evaluated, and with the
// index of the parameters.
type violation struct {
	Finding
	of     *validation
	params int
}

// Judge evaluates the rule for a request. It returns an error only if ctx ends.
func (r *Rule) Judge(ctx context.Context, in *Input) ([]Finding, error) {
	if !r.matches(in) {
		return nil, nil
	}
	var found []violation
	all, err := r.parameters(in)
	if err != nil {
		found = r.failed(nil, err)
	} else {
		found = r.violations(ctx, in, all)
	}
	if len(found) > 0 && err == nil {
		if in, found = r.spare(ctx, in, all, found); in.changes() || r.effective {
			r.compare(ctx, in, all, found)
		}
	}
	return r.findings(ctx, in, found)
}

// findings are those of violations, with what exceptions allow. It returns an error only if ctx has ended, because then
// the violations are not all that there are.
func (r *Rule) findings(ctx context.Context, in *Input, found []violation) ([]Finding, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("evaluating rule %s: %w", r.name, err)
	}
	findings := make([]Finding, len(found))
	for i := range found {
		findings[i] = found[i].Finding
	}
	r.except(in, findings)
	return findings, nil
}

// violations evaluates the rule with each of its parameters, without regard to what was there before the request.
func (r *Rule) violations(ctx context.Context, in *Input, all []any) (found []violation) {
	for i, each := range all {
		for _, v := range r.evaluate(ctx, in.values(each)) {
			v.params = i
			found = append(found, v)
		}
	}
	return found
}

// evaluate evaluates the rule with one set of parameters.
func (r *Rule) evaluate(ctx context.Context, values map[string]any) []violation {
	applies, err := r.applies(ctx, values)
	if err != nil {
		return r.failed(nil, err)
	}
	if !applies {
		return nil
	}
	b := &budget{ctx: ctx, left: celconfig.RuntimeCELCostBudget}
	r.bind(b, values)
	var found []violation
	for i := range r.validations {
		found = append(found, r.require(&r.validations[i], b, values)...)
	}
	return found
}

// holds reports whether a requirement is met.
func (r *Rule) holds(v *validation, b *budget, values map[string]any) (bool, error) {
	value, err := b.run(v.holds, values)
	return err == nil && value == types.True, err
}

// require evaluates one requirement.
func (r *Rule) require(v *validation, b *budget, values map[string]any) []violation {
	switch met, err := r.holds(v, b, values); {
	case err != nil:
		return r.failed(v, err)
	case met:
		return nil
	}
	return []violation{{of: v, Finding: Finding{
		Rule: r.name, Severity: r.severity(), Effective: v.effective, Problem: verdict.Problem{
			Field: v.spec.FieldPath, Reason: cmp.Or(v.spec.Reason, reasonViolated), Weight: r.weight(),
			Message: v.words(b, values),
		},
	}}}
}

// bind adds the variables of the rule to the values. Each is evaluated when it is first used.
func (r *Rule) bind(b *budget, values map[string]any) {
	variables := lazy.NewMapValue(types.NewObjectType(typeVariables))
	for _, v := range r.variables {
		variables.Append(v.name, func(*lazy.MapValue) ref.Val {
			value, err := b.run(v.program, values)
			if err != nil {
				return types.WrapErr(fmt.Errorf("variable %s: %w", v.name, err))
			}
			return value
		})
	}
	values[varVariables] = variables
}

// applies reports whether all match conditions are true. A condition that is false decides, even if another one fails.
func (r *Rule) applies(ctx context.Context, values map[string]any) (bool, error) {
	b := &budget{ctx: ctx, left: celconfig.RuntimeCELCostBudgetMatchConditions}
	var failures []error
	for _, c := range r.conditions {
		value, err := b.run(c.program, values)
		if err != nil {
			failures = append(failures, fmt.Errorf("matchCondition %s: %w", c.name, err))
		} else if value != types.True {
			return false, nil
		}
	}
	return true, errors.Join(failures...)
}

// parameters are the values of params for which the rule is evaluated.
func (r *Rule) parameters(in *Input) ([]any, error) {
	p := r.params.ref
	if p == nil {
		return []any{nil}, nil
	}
	namespace := cmp.Or(p.Namespace, in.Request.Namespace)
	if namespace == "" {
		return nil, errors.New("paramRef names no namespace, and the object has none: write paramRef.namespace")
	}
	found, err := in.Params(namespace, p.Name, r.params.selector)
	if err != nil {
		return nil, fmt.Errorf("reading parameters: %w", err)
	}
	if len(found) == 0 && p.ParameterNotFoundAction != rulesv1alpha1.ParameterNotFoundAllow {
		what := p.Name
		if what == "" {
			what = "with the labels of paramRef.selector"
		}
		return nil, fmt.Errorf("no ConfigMap %s in namespace %s, from which it takes its parameters", what, namespace)
	}
	var all []any
	for _, c := range found {
		all = append(all, celcommon.SchemalessTypedToVal(c))
	}
	return all, nil
}

// failed is the finding of a requirement that could not be evaluated, or of the whole rule if v is nil.
func (r *Rule) failed(v *validation, err error) []violation {
	if r.spec.FailurePolicy == rulesv1alpha1.FailurePolicyIgnore {
		return nil
	}
	way := "ask its owner to correct it"
	if errors.As(err, &effectsError{}) {
		way = "try again, or ask its owner"
	}
	found := violation{of: v, Finding: Finding{
		Rule: r.name, Severity: r.severity(), Failed: true, Effective: r.effective, Problem: verdict.Problem{
			Reason: "RuleFailed", Weight: r.weight(),
			Message: fmt.Sprintf("the rule cannot be evaluated: %s: %s", oneLine(err), way),
		},
	}}
	if v != nil {
		found.Field, found.Effective = v.spec.FieldPath, v.effective
	}
	return []violation{found}
}

func (r *Rule) severity() rulesv1alpha1.Severity {
	return cmp.Or(r.spec.Severity, rulesv1alpha1.SeverityDeny)
}

// weight is what the finding is to reports: what is denied is Invalid.
func (r *Rule) weight() verdict.Weight {
	if r.severity() == rulesv1alpha1.SeverityDeny {
		return verdict.Invalid
	}
	return verdict.Unresolved
}

// values are the values of all variables, with one of the parameters, and without the rule's own variables. Those that are
// functions are computed when an expression first reads them.
func (in *Input) values(params any) map[string]any {
	values := map[string]any{
		varObject: nil, varOldObject: nil, varNamespace: nil, varEffective: in.effective(), varParams: params,
		varVariables: lazy.NewMapValue(types.NewObjectType(typeVariables)),
	}
	if in.Object != nil {
		values[varObject] = in.Object
	}
	if in.OldObject != nil {
		values[varOldObject] = in.OldObject
	}
	if in.Namespace != nil {
		values[varNamespace] = func() ref.Val { return celcommon.SchemalessTypedToVal(in.Namespace) }
	}
	values[varRequest] = func() ref.Val {
		request := *in.Request
		request.Object.Raw, request.OldObject.Raw = nil, nil
		return celcommon.SchemalessTypedToVal(&request)
	}
	return values
}

// words is the message for the user: that of the expression, or else the fixed one.
func (v *validation) words(b *budget, values map[string]any) string {
	if v.message != nil {
		value, err := b.run(v.message, values)
		text, ok := value.(types.String)
		line := strings.Join(strings.Fields(string(text)), " ")
		if err == nil && ok && line != "" && len(line) <= celconfig.MaxEvaluatedMessageExpressionSizeBytes {
			return line
		}
	}
	if v.spec.Message != "" {
		return strings.Join(strings.Fields(v.spec.Message), " ")
	}
	return fmt.Sprintf("%s is not true: change the object, or ask the owner of the rule",
		strings.Join(strings.Fields(v.spec.Expression), " "))
}

// budget is the remaining cost for the expressions of a rule.
type budget struct {
	ctx  context.Context
	left uint64
}

var errBudget = errors.New("its expressions cost too much for an object of this size")

// run evaluates a program and subtracts its cost.
func (b *budget) run(p cel.Program, values map[string]any) (ref.Val, error) {
	if b.left == 0 {
		return nil, errBudget
	}
	value, details, err := p.ContextEval(b.ctx, values)
	if details != nil && details.ActualCost() != nil {
		b.left -= min(b.left, *details.ActualCost())
	}
	if err != nil && strings.Contains(err.Error(), "actual cost limit exceeded") {
		return nil, errBudget
	}
	return value, err
}
