package admissionrule

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/verdict"
)

// params says where the parameters of a rule are.
type params struct {
	ref      *rulesv1alpha1.ParamRef
	selector labels.Selector
}

// read reads the kind and the reference of the parameters, and returns what is wrong with them.
func (p *params) read(spec *rulesv1alpha1.AdmissionRuleSpec) *verdict.Problem {
	wrong := func(field, message string) *verdict.Problem {
		return &verdict.Problem{Field: field, Reason: ReasonInvalid, Weight: verdict.Invalid, Message: message}
	}
	kind, ref := spec.ParamKind, spec.ParamRef
	switch {
	case kind == nil && ref == nil:
		return nil
	case kind == nil:
		return wrong("spec.paramKind", "paramRef needs a kind: write paramKind, or remove paramRef")
	case ref == nil:
		return wrong("spec.paramRef", "paramKind needs a reference: write paramRef, or remove paramKind")
	case kind.APIVersion != paramsVersion || kind.Kind != paramsKind:
		return wrong("spec.paramKind", fmt.Sprintf("%s of %s cannot be read as parameters: put them into a %s of %s",
			kind.Kind, kind.APIVersion, paramsKind, paramsVersion))
	case (ref.Name == "") == (ref.Selector == nil):
		return wrong("spec.paramRef", "parameters are found by a name or by a selector: write one of the two")
	}
	selector, err := selectorOf(ref.Selector)
	if err != nil {
		return wrong("spec.paramRef.selector", oneLine(err)+": correct the selector")
	}
	p.ref, p.selector = ref, selector
	return nil
}
