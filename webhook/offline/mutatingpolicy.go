package offline

import (
	"context"
	"fmt"
	"reflect"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/applyconfigurations"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"gatehouse/api/patching"
	"gatehouse/policies/verdict"
)

// mutatingPolicies are the MutatingAdmissionPolicies with their bindings.
var mutatingPolicies = policyType[*mutating.Policy, *mutating.PolicyBinding, mutating.PolicyEvaluator]{
	kind:      "MutatingAdmissionPolicy",
	newPolicy: func() *mutating.Policy { return &mutating.Policy{} }, newBinding: func() *mutating.PolicyBinding { return &mutating.PolicyBinding{} },
	policy: mutating.NewMutatingAdmissionPolicyAccessor, binding: mutating.NewMutatingAdmissionPolicyBindingAccessor,
	compile: compiledMutations,
}

// compiledMutations is what compiled is for a MutatingAdmissionPolicy.
func compiledMutations(policy *mutating.Policy) (mutating.PolicyEvaluator, []verdict.Problem) {
	patching.BoundCopies()
	spec := &policy.Spec
	c, err := newCompiler(spec.Variables, spec.ParamKind != nil)
	if err != nil {
		return mutating.PolicyEvaluator{Error: err}, nil
	}
	evaluator := mutating.PolicyEvaluator{CompositedCompiler: c.CompositedCompiler, Matcher: c.matcher(spec.MatchConditions, spec.FailurePolicy, policy.Name)}
	patches := c.all
	patches.HasPatchTypes = true
	for i, m := range spec.Mutations {
		switch {
		case m.PatchType == admissionregv1.PatchTypeJSONPatch && m.JSONPatch != nil:
			condition := &patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}
			c.check(fmt.Sprintf("spec.mutations[%d].jsonPatch.expression", i), condition, patches)
			evaluator.Mutators = append(evaluator.Mutators,
				patch.NewJSONPatcher(c.CompileMutatingEvaluator(condition, patches, environment.StoredExpressions)))
		case m.PatchType == admissionregv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			condition := &patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}
			c.check(fmt.Sprintf("spec.mutations[%d].applyConfiguration.expression", i), condition, patches)
			evaluator.Mutators = append(evaluator.Mutators,
				patch.NewApplyConfigurationPatcher(c.CompileMutatingEvaluator(condition, patches, environment.StoredExpressions)))
		}
	}
	return evaluator, c.problems
}

// types are what merges apply configurations into objects: the schemas of CRDs, and those of Kubernetes' own kinds.
type types struct {
	forms *forms
	own   managedfields.TypeConverter
}

func newTypes(f *forms) types {
	return types{forms: f, own: applyconfigurations.NewTypeConverter(clientscheme.Scheme)}
}

// GetTypeConverter implements patch.TypeConverterManager. It returns nil for a kind that is not known.
func (t types) GetTypeConverter(kind schema.GroupVersionKind) managedfields.TypeConverter {
	if form, err := t.forms.of(kind); err == nil && form != nil {
		return form.Types
	}
	empty := &unstructured.Unstructured{} // The converter says only by an object whether it knows a kind.
	empty.SetGroupVersionKind(kind)
	if _, err := t.own.ObjectToTyped(empty); err != nil {
		return nil
	}
	return t.own
}

// Run implements patch.TypeConverterManager.
func (types) Run(context.Context) {}

// defaults fills in the defaults of CRDs.
type defaults struct{ review *review }

// Default implements runtime.ObjectDefaulter.
func (d defaults) Default(in runtime.Object) {
	object, ok := in.(*unstructured.Unstructured)
	if !ok {
		return
	}
	if defined, err := d.review.definitions.Kind(object.GroupVersionKind()); err == nil && defined != nil {
		defined.Default(object.Object)
	}
}

// mutate does what an API server does with an object before it validates it: its own policies, and then the webhook of
// Gatehouse. If one of them changes the object, both are asked again, and policies decide by their reinvocationPolicy.
func (r *review) mutate(o *object) bool {
	if len(r.policies.mutating) == 0 || o.unknown || o.kind.Group == admissionregv1.GroupName {
		r.webhook(o)
		return true
	}
	attributes := r.attributes(o)
	object := attributes.GetObject().(*unstructured.Unstructured)
	again := attributes.GetReinvocationContext()
	for {
		err := r.policies.mutator.Dispatch(context.Background(), attributes, r.policies.interfaces, r.policies.mutating)
		if err != nil {
			r.deny(o.document, o.ref, refused(reasonPolicy, "", denial(err)))
			o.denied = true
			return true
		}
		if !reflect.DeepEqual(o.value, object.Object) {
			r.become(o, object.Object)
		}
		before := runtime.DeepCopyJSON(o.value)
		if r.webhook(o); !reflect.DeepEqual(before, o.value) {
			again.SetShouldReinvoke()
		}
		if object.Object = o.value; again.IsReinvoke() || !again.ShouldReinvoke() {
			return true
		}
		again.SetIsReinvoke()
	}
}
