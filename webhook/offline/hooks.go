package offline

import (
	"maps"
	"slices"
	"strings"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
)

// policyObject is a policy or a binding.
type policyObject interface {
	runtime.Object
	metav1.Object
}

// policyType is one of the two types of admission policies, with what the API server does with its policies and bindings.
type policyType[P, B policyObject, E generic.Evaluator] struct {
	// kind is that of the policies; that of the bindings has Binding behind it.
	kind       string
	newPolicy  func() P
	newBinding func() B
	policy     func(P) generic.PolicyAccessor
	binding    func(B) generic.BindingAccessor
	compile    func(P) E
}

// hooks are the policies among the documents that have bindings. Policies and bindings are in the order of their names.
func (t policyType[P, B, E]) hooks(r *review, documents []document, store *params) (all []generic.PolicyHook[P, B, E]) {
	hooks := map[string]*generic.PolicyHook[P, B, E]{}
	bindings := map[string][]B{}
	for _, d := range documents {
		if d.kind.Group != admissionregv1.GroupName {
			continue
		}
		switch d.kind.Kind {
		case t.kind:
			if policy := t.newPolicy(); r.configured(d, policy) {
				matchDefaults(t.policy(policy).GetMatchConstraints())
				hooks[policy.GetName()] = &generic.PolicyHook[P, B, E]{Policy: policy}
			}
		case t.kind + "Binding":
			if binding := t.newBinding(); r.configured(d, binding) {
				of := t.binding(binding)
				matchDefaults(of.GetMatchResources())
				bindings[of.GetPolicyName().Name] = append(bindings[of.GetPolicyName().Name], binding)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(hooks)) {
		hook := hooks[name]
		// A binding whose policy is not here is ignored: the policy is in the cluster, or nowhere.
		if hook.Bindings = bindings[name]; len(hook.Bindings) == 0 {
			continue
		}
		slices.SortFunc(hook.Bindings, func(a, b B) int { return strings.Compare(a.GetName(), b.GetName()) })
		hook.Evaluator = t.compile(hook.Policy)
		if kind := t.policy(hook.Policy).GetParamKind(); kind != nil {
			hook.ParamInformer, hook.ParamScope = store.of(schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind))
		}
		all = append(all, *hook)
	}
	return all
}

// matchDefaults fills in what the API server does; nil is allowed.
func matchDefaults(match *admissionregv1.MatchResources) {
	if match == nil {
		return
	}
	if match.MatchPolicy == nil {
		match.MatchPolicy = new(admissionregv1.Equivalent)
	}
	if match.NamespaceSelector == nil {
		match.NamespaceSelector = &metav1.LabelSelector{}
	}
	if match.ObjectSelector == nil {
		match.ObjectSelector = &metav1.LabelSelector{}
	}
}
