package admissionrule

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/ref"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	celmutation "k8s.io/apiserver/pkg/cel/mutation"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
)

// mutation is a compiled mutation.
type mutation struct {
	program   cel.Program
	patchType rulesv1alpha1.PatchType
}

// Patch returns an object with the change that the expression of a mutation has returned, as patching.Patch does. It
// depends on more than this package may.
type Patch func(ctx context.Context, of rulesv1alpha1.PatchType, object map[string]any, value ref.Val,
	types managedfields.TypeConverter) (map[string]any, error)

// patchType is what a patch type means.
type patchType struct {
	field    string
	returns  *cel.Type
	literals func(*literals)
}

var patchTypesByName = map[rulesv1alpha1.PatchType]patchType{
	rulesv1alpha1.PatchTypeApplyConfiguration: {
		field: "applyConfiguration", returns: cel.ObjectType(celmutation.ObjectTypeName), literals: (*literals).objects,
	},
	rulesv1alpha1.PatchTypeJSONPatch: {
		field: "jsonPatch", returns: cel.ListType(cel.ObjectType(celmutation.JSONPatchTypeName)), literals: (*literals).patches,
	},
}

// checkMutation is what is wrong with the form of a mutation.
func checkMutation(m *rulesv1alpha1.Mutation) string {
	of, known := patchTypesByName[m.PatchType]
	switch {
	case !known:
		return fmt.Sprintf("%q is not a patch type: write ApplyConfiguration or JSONPatch", m.PatchType)
	case m.ApplyConfiguration != nil && m.JSONPatch != nil || m.Expression() == "":
		return fmt.Sprintf("a mutation of patchType %s needs an expression in %s, and nothing else: write it there", m.PatchType, of.field)
	}
	return ""
}

// mutations compiles the mutations, in which effective is not known.
func (c *compiler) mutations() {
	spec, judging := c.rule.spec, c.env
	if len(spec.Mutations) == 0 {
		return
	}
	if c.conditional {
		c.wrong("spec.matchConditions", "a rule with mutations decides what takes effect, so its conditions cannot read effective: make a rule of its own of them")
	}
	patching := *judging
	patching.Env, patching.mutates = judging.patching, true
	c.env = &patching
	for i := range spec.Mutations {
		m := &spec.Mutations[i]
		of := patchTypesByName[m.PatchType]
		field := fmt.Sprintf("spec.mutations[%d].%s.expression", i, of.field)
		done := c.compile(field, m.Expression(), of.returns)
		if done.effective {
			c.wrong(field, "mutations decide what takes effect, so they cannot read effective: read object or params, or write a validation")
		}
		if c.programs {
			c.rule.mutations = append(c.rule.mutations, mutation{program: done.program, patchType: m.PatchType})
		} else if done.ast != nil && !c.partial {
			of.literals(&literals{compiler: c, field: field, ast: done.ast.NativeRep()})
		}
	}
	c.env = judging
}

// apply returns the object of a request with the change, which is another one if anything changes.
func (m *mutation) apply(ctx context.Context, r *Rule, in *Input, params any) (map[string]any, error) {
	values, b := in.values(params), &budget{ctx: ctx, left: celconfig.RuntimeCELCostBudget}
	r.bind(b, values)
	value, err := b.run(m.program, values)
	if err != nil {
		return nil, err
	}
	form, err := in.form()
	if err != nil && m.patchType == rulesv1alpha1.PatchTypeApplyConfiguration {
		return nil, err
	}
	patched, err := in.Patch(ctx, m.patchType, in.Object, value, form.types())
	if err != nil {
		return nil, err
	}
	object, err := plainJSON(patched)
	if err != nil {
		return nil, err
	}
	changed := edits(in.Object, object)
	for _, e := range changed {
		if why := fixed(e.path...); why != "" {
			return nil, errors.New(why)
		}
	}
	if form == nil || len(changed) == 0 {
		return object, nil
	}
	return object, form.complete(in.Object, object)
}

// form is that of the kind; nil with an error if it is not known.
func (in *Input) form() (*Form, error) {
	unknown := fmt.Errorf("the fields of %s are not known here, because its CRD is not", in.Resource.Kind)
	if in.Form == nil {
		return nil, unknown
	}
	form, err := in.Form()
	if err == nil && form == nil {
		err = unknown
	}
	return form, err
}

// Mutates reports whether the rule may change objects of a kind.
func (r *Rule) Mutates(kind Resource) bool {
	return len(r.mutations) > 0 && !kind.Partial && r.Covers(kind)
}

// mutates reports whether the rule may change the object of a request.
func (r *Rule) mutates(in *Input) bool {
	return in.Object != nil && r.Mutates(in.Resource) &&
		slices.Contains([]admissionv1.Operation{admissionv1.Create, admissionv1.Update}, in.Request.Operation)
}
