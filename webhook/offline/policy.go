package offline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/warning"
	kjson "sigs.k8s.io/json"

	"gatehouse/policies/verdict"
)

const (
	policyKind  = "ValidatingAdmissionPolicy"
	bindingKind = "ValidatingAdmissionPolicyBinding"
)

// policies are the ValidatingAdmissionPolicies of the manifests with their bindings, evaluated by the code of the API
// server. The request is by a user who is authorized for nothing.
type policies struct {
	// hooks are each a policy with one binding, because the API server only returns the first denial of a request.
	hooks      []validating.PolicyHook
	dispatcher generic.Dispatcher[validating.PolicyHook]
	interfaces admission.ObjectInterfaces
	registry   runtime.EquivalentResourceRegistry
}

// newPolicies compiles the policies among the documents. Params and namespaces are documents too.
func (r *review) newPolicies(documents []document) *policies {
	p := &policies{registry: runtime.NewEquivalentResourceRegistry()}
	p.interfaces = &admission.RuntimeObjectInterfaces{
		ObjectCreater: versions{}, ObjectTyper: r.Scheme, ObjectConvertor: versions{}, EquivalentResourceMapper: p.registry,
	}
	defined := map[string]*admissionregv1.ValidatingAdmissionPolicy{}
	var bindings []*admissionregv1.ValidatingAdmissionPolicyBinding
	for _, d := range documents {
		if d.kind.Group != admissionregv1.GroupName {
			continue
		}
		switch d.kind.Kind {
		case policyKind:
			if policy := (&admissionregv1.ValidatingAdmissionPolicy{}); r.configured(d, policy) {
				policy.Spec.MatchConstraints = matchDefaults(policy.Spec.MatchConstraints)
				defined[policy.Name] = policy
			}
		case bindingKind:
			if binding := (&admissionregv1.ValidatingAdmissionPolicyBinding{}); r.configured(d, binding) {
				binding.Spec.MatchResources = matchDefaults(binding.Spec.MatchResources)
				bindings = append(bindings, binding)
			}
		}
	}
	if len(defined) == 0 {
		return p
	}
	slices.SortFunc(bindings, func(a, b *admissionregv1.ValidatingAdmissionPolicyBinding) int {
		return strings.Compare(a.Name, b.Name)
	})
	evaluators := map[string]validating.Validator{}
	store := newParams(r, documents)
	for _, binding := range bindings {
		policy := defined[binding.Spec.PolicyName]
		if policy == nil {
			continue // It is in the cluster, or nowhere. The API server ignores the binding too.
		}
		if evaluators[policy.Name] == nil {
			evaluators[policy.Name] = compiled(policy)
		}
		hook := validating.PolicyHook{
			Policy: policy, Bindings: []*admissionregv1.ValidatingAdmissionPolicyBinding{binding},
			Evaluator: evaluators[policy.Name],
		}
		if kind := policy.Spec.ParamKind; kind != nil {
			hook.ParamInformer, hook.ParamScope = store.of(schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind))
		}
		p.hooks = append(p.hooks, hook)
	}
	p.dispatcher = validating.NewDispatcher(nobody{},
		generic.NewPolicyMatcher(matching.NewMatcher(newNamespaces(documents), nil)))
	return p
}

// configured decodes a policy or binding strictly, and reports whether it can be used.
func (r *review) configured(d document, into metav1.Object) bool {
	unknown, err := kjson.UnmarshalStrict(d.raw, into)
	ref := verdict.Ref{Group: d.kind.Group, Kind: d.kind.Kind, Name: into.GetName()}
	if d.stored {
		return err == nil // The API server has stored it.
	}
	if err != nil {
		r.deny(d, ref, refused(reasonUnreadable, "", oneLine(err)+": correct the form of the object"))
		return false
	}
	for _, each := range unknown {
		_, path, _ := strings.Cut(each.Error(), `"`)
		r.deny(d, ref, unknownField(strings.TrimSuffix(path, `"`)))
	}
	return true
}

// matchDefaults fills in what the API server does.
func matchDefaults(match *admissionregv1.MatchResources) *admissionregv1.MatchResources {
	if match == nil {
		return nil
	}
	if match.MatchPolicy == nil {
		equivalent := admissionregv1.Equivalent
		match.MatchPolicy = &equivalent
	}
	if match.NamespaceSelector == nil {
		match.NamespaceSelector = &metav1.LabelSelector{}
	}
	if match.ObjectSelector == nil {
		match.ObjectSelector = &metav1.LabelSelector{}
	}
	return match
}

// admit evaluates the policies, whose denials and warnings have the words of the API server. Objects that it refuses
// before are not evaluated.
func (r *review) admit(o *object) bool {
	if len(r.policies.hooks) == 0 || o.unknown || len(r.invalid[o.ref]) > 0 ||
		o.kind.Group == admissionregv1.GroupName {
		return true
	}
	resource, _ := meta.UnsafeGuessKindToResource(o.kind)
	if o.defined != nil {
		resource = o.kind.GroupVersion().WithResource(o.defined.Resource)
		for _, version := range r.definitions.Versions(o.kind.GroupKind()) {
			r.policies.registry.RegisterKindFor(version.WithResource(o.defined.Resource), "", version.WithKind(o.kind.Kind))
		}
	}
	attributes := r.attributes(o, resource)
	for i := range r.policies.hooks {
		heard := &warnings{}
		ctx := warning.WithWarningRecorder(context.Background(), heard)
		err := r.policies.dispatcher.Dispatch(ctx, attributes, r.policies.interfaces, r.policies.hooks[i:i+1])
		if err != nil {
			r.deny(o.document, o.ref, refused(reasonPolicy, "", denial(err)))
		}
		for _, text := range *heard {
			r.warn(o.document, o.ref, verdict.Problem{Reason: reasonPolicy, Weight: verdict.Unresolved, Message: text})
		}
	}
	return true
}

// attributes are those of the request to store an object.
func (r *review) attributes(o *object, resource schema.GroupVersionResource) admission.Attributes {
	now := &unstructured.Unstructured{Object: o.value}
	if o.old == nil {
		return admission.NewAttributesRecord(now, nil, o.kind, o.ref.Namespace, o.ref.Name, resource, "", admission.Create,
			&metav1.CreateOptions{}, false, r.user())
	}
	return admission.NewAttributesRecord(now, &unstructured.Unstructured{Object: o.old}, o.kind, o.ref.Namespace, o.ref.Name,
		resource, "", admission.Update, &metav1.UpdateOptions{}, false, r.user())
}

// denial is the text of a denial without the name of the object.
func denial(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		if details := status.Status().Details; details != nil && len(details.Causes) > 0 {
			return oneLine(errors.New(details.Causes[len(details.Causes)-1].Message))
		}
	}
	return oneLine(err)
}

// warnings collects warnings.
type warnings []string

// AddWarning implements warning.Recorder.
func (w *warnings) AddWarning(_, text string) {
	*w = append(*w, strings.Join(strings.Fields(text), " "))
}

// nobody may do nothing.
type nobody struct{}

// Authorize implements authorizer.UnconditionalAuthorizer.
func (nobody) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionNoOpinion, "files are checked by no user", nil
}

// versions converts objects of CRDs between versions, which all have the same fields.
type versions struct{ runtime.ObjectConvertor }

// New implements runtime.ObjectCreater.
func (versions) New(kind schema.GroupVersionKind) (runtime.Object, error) {
	made := &unstructured.Unstructured{Object: map[string]any{}}
	made.SetGroupVersionKind(kind)
	return made, nil
}

// Convert implements runtime.ObjectConvertor. The caller sets the version.
func (versions) Convert(in, out, _ any) error {
	from, ok := in.(*unstructured.Unstructured)
	to, right := out.(*unstructured.Unstructured)
	if !ok || !right {
		return fmt.Errorf("converting a %T to a %T", in, out)
	}
	to.Object = from.DeepCopy().Object
	return nil
}
