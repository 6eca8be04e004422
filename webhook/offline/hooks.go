package offline

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"

	"gatehouse/policies/verdict"
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
	compile    func(P) (E, []verdict.Problem)
}

// policySet are the policies and bindings of one type among documents, by the name of the policy.
type policySet[P, B policyObject, E generic.Evaluator] struct {
	hooks    map[string]*generic.PolicyHook[P, B, E]
	policies map[string]document
	bindings map[string][]document
}

// find finds the policies and bindings among the documents that can be used.
func (t policyType[P, B, E]) find(r *review, documents []document) *policySet[P, B, E] {
	f := &policySet[P, B, E]{map[string]*generic.PolicyHook[P, B, E]{}, map[string]document{}, map[string][]document{}}
	bindings := map[string][]B{}
	for _, d := range documents {
		if d.kind.Group != admissionregv1.GroupName {
			continue
		}
		switch d.kind.Kind {
		case t.kind:
			policy := t.newPolicy()
			usable := r.configured(d, policy)
			if f.policies[policy.GetName()] = d; usable {
				matchDefaults(t.policy(policy).GetMatchConstraints())
				f.hooks[policy.GetName()] = &generic.PolicyHook[P, B, E]{Policy: policy}
			}
		case t.kind + "Binding":
			if binding := t.newBinding(); r.configured(d, binding) {
				of := t.binding(binding)
				matchDefaults(of.GetMatchResources())
				name := of.GetPolicyName().Name
				bindings[name], f.bindings[name] = append(bindings[name], binding), append(f.bindings[name], d)
			}
		}
	}
	for name, hook := range f.hooks {
		hook.Bindings = bindings[name]
		slices.SortFunc(hook.Bindings, func(a, b B) int { return strings.Compare(a.GetName(), b.GetName()) })
	}
	return f
}

// hooks are the policies among the documents that have bindings. Policies and bindings are in the order of their names. It
// reports policies that the API server refuses because of their expressions, and bindings of policies that do not exist.
func (t policyType[P, B, E]) hooks(r *review, documents []document, store *params) (all []generic.PolicyHook[P, B, E]) {
	f := t.find(r, documents)
	for _, name := range slices.Sorted(maps.Keys(f.bindings)) {
		if _, known := f.policies[name]; !known && name != "" { // Without a name it has a finding already.
			for _, d := range f.bindings[name] {
				r.unbound(d, t.kind, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.hooks)) {
		hook, d := f.hooks[name], f.policies[name]
		evaluator, problems := t.compile(hook.Policy)
		if len(problems) > 0 && !d.stored {
			for _, problem := range problems {
				r.deny(d, r.headOf(d), problem)
			}
			continue
		}
		if len(hook.Bindings) == 0 {
			continue
		}
		hook.Evaluator = evaluator
		if kind := t.policy(hook.Policy).GetParamKind(); kind != nil {
			hook.ParamInformer, hook.ParamScope = store.of(schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind))
		}
		all = append(all, *hook)
	}
	return all
}

// unbound warns of a binding whose policy does not exist, unless the binding is stored.
func (r *review) unbound(d document, kind, name string) {
	if !d.stored {
		r.warn(d, r.headOf(d), verdict.Problem{
			Field: "spec.policyName", Reason: reasonPolicy, Weight: verdict.Unresolved,
			Message: fmt.Sprintf("no %s %q is here, so the binding has no effect: add it, correct the name, or name its cluster by --context", kind, name),
		})
	}
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
