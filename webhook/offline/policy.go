package offline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/warning"
	kjson "sigs.k8s.io/json"

	"gatehouse/policies/verdict"
)

// validatingPolicies are the ValidatingAdmissionPolicies with their bindings.
var validatingPolicies = policyType[*validating.Policy, *validating.PolicyBinding, validating.Validator]{
	kind:      "ValidatingAdmissionPolicy",
	newPolicy: func() *validating.Policy { return &validating.Policy{} }, newBinding: func() *validating.PolicyBinding { return &validating.PolicyBinding{} },
	policy: validating.NewValidatingAdmissionPolicyAccessor, binding: validating.NewValidatingAdmissionPolicyBindingAccessor,
	compile: compiled,
}

// policies are the admission policies of the manifests with their bindings, evaluated by the code of the API server. The
// request is by a user who is authorized for nothing.
type policies struct {
	mutating []mutating.PolicyHook
	mutator  generic.Dispatcher[mutating.PolicyHook]
	// validating are each a policy with one binding, because the API server only returns the first denial of a request.
	validating []validating.PolicyHook
	validator  generic.Dispatcher[validating.PolicyHook]
	interfaces admission.ObjectInterfaces
	registry   runtime.EquivalentResourceRegistry
}

// newPolicies compiles the policies among the documents. Params and namespaces are documents too.
func (r *review) newPolicies(documents []document) *policies {
	p := &policies{registry: runtime.NewEquivalentResourceRegistry()}
	p.interfaces = &admission.RuntimeObjectInterfaces{
		ObjectCreater: versions{}, ObjectTyper: r.Scheme, ObjectConvertor: versions{}, ObjectDefaulter: defaults{r},
		EquivalentResourceMapper: p.registry,
	}
	store := newParams(r, documents)
	p.mutating = mutatingPolicies.hooks(r, documents, store)
	for _, hook := range validatingPolicies.hooks(r, documents, store) {
		for _, binding := range hook.Bindings {
			hook.Bindings = []*validating.PolicyBinding{binding}
			p.validating = append(p.validating, hook)
		}
	}
	matcher := matching.NewMatcher(newNamespaces(documents), nil)
	if len(p.mutating) > 0 {
		p.mutator = mutating.NewDispatcher(nobody{}, matcher, newTypes(r.forms))
	}
	p.validator = validating.NewDispatcher(nobody{}, generic.NewPolicyMatcher(matcher))
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

// admit evaluates the policies, whose denials and warnings have the words of the API server. Objects that it refuses
// before are not evaluated.
func (r *review) admit(o *object) bool {
	if len(r.policies.validating) == 0 || o.unknown || o.denied || len(r.invalid[o.ref]) > 0 ||
		o.kind.Group == admissionregv1.GroupName {
		return true
	}
	attributes := r.attributes(o)
	for i := range r.policies.validating {
		heard := &warnings{}
		ctx := warning.WithWarningRecorder(context.Background(), heard)
		err := r.policies.validator.Dispatch(ctx, attributes, r.policies.interfaces, r.policies.validating[i:i+1])
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
func (r *review) attributes(o *object) admission.Attributes {
	resource, _ := meta.UnsafeGuessKindToResource(o.kind)
	if o.defined != nil {
		resource = o.kind.GroupVersion().WithResource(o.defined.Resource)
		for _, version := range r.definitions.Versions(o.kind.GroupKind()) {
			r.policies.registry.RegisterKindFor(version.WithResource(o.defined.Resource), "", version.WithKind(o.kind.Kind))
		}
	}
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

// Convert implements runtime.ObjectConvertor. What is converted keeps the version that it has, if it has one.
func (versions) Convert(in, out, _ any) error {
	from, ok := in.(*unstructured.Unstructured)
	to, right := out.(*unstructured.Unstructured)
	if !ok || !right {
		return fmt.Errorf("converting a %T to a %T", in, out)
	}
	raw, err := from.MarshalJSON() // What a policy has built need not have values that can be copied.
	if err != nil {
		return fmt.Errorf("encoding the object: %w", err)
	}
	kind := to.GroupVersionKind()
	to.Object = nil
	if err := utiljson.Unmarshal(raw, &to.Object); err != nil {
		return fmt.Errorf("decoding the object: %w", err)
	}
	if !kind.Empty() {
		to.SetGroupVersionKind(kind)
	}
	return nil
}
