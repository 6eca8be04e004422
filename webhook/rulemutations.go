package webhook

import (
	"context"
	"fmt"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/api/patching"
	"gatehouse/policies/admissionrule"
)

// formAge is how long the schema of a kind is used before it is read again: a CRD may change.
const formAge = 30 * time.Second

// keptForm is the form of a kind, and when it was read.
type keptForm struct {
	*admissionrule.Form
	read time.Time
}

// form returns what mutations need to know of a kind; nil if its CRD is not known.
func (b *RuleBook) form(ctx context.Context, kind schema.GroupVersionKind) (*admissionrule.Form, error) {
	b.mu.RLock()
	kept := b.forms[kind]
	b.mu.RUnlock()
	now := b.options.Now()
	if kept.Form != nil && now.Sub(kept.read) < formAge {
		return kept.Form, nil
	}
	schemas := b.options.Schemas(ctx)
	if schemas == nil {
		return nil, nil
	}
	known := schemas(kind)
	if known == nil {
		return nil, nil
	}
	form, err := admissionrule.NewForm(kind, known)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forms[kind] = keptForm{form, now}
	return form, nil
}

// mutating lists the rules that may change objects of a kind.
func (b *RuleBook) mutating(kind schema.GroupKind) (admissionrule.Resource, []*admissionrule.Rule) {
	resource, known := admissionrule.ResourceOf(kind)
	if b == nil || !known {
		return resource, nil
	}
	return resource, slices.DeleteFunc(b.about(resource), func(r *admissionrule.Rule) bool { return !r.Mutates(resource) })
}

// mutate applies the mutations of rules to the object of a request, in which more may have been filled in. It returns an
// error only if ctx ends, or if it cannot be known which rules apply.
func (b *RuleBook) mutate(ctx context.Context, request *admissionv1.AdmissionRequest, object map[string]any) (
	*admissionrule.Mutated, error,
) {
	unchanged := &admissionrule.Mutated{Object: object}
	kind, rules := b.mutating(kindOf(request))
	if len(rules) == 0 {
		return unchanged, nil
	}
	ctx, span := stage(ctx, "evaluate mutations of rules")
	defer span.End()
	in, err := b.input(ctx, kind, request)
	if err != nil || in == nil {
		return unchanged, err
	}
	if object != nil {
		in.Object = object
	}
	in.Patch = patching.Patch
	in.Form = func() (*admissionrule.Form, error) { return b.form(ctx, schema.GroupVersionKind(request.Kind)) }
	return admissionrule.Mutate(ctx, rules, in)
}

// made says what rules have filled in, unless it is stored already, and counts it.
func (b *RuleBook) made(request *admissionv1.AdmissionRequest, changes []admissionrule.Change) (notes []string) {
	for i := range changes {
		if !changes[i].Stored {
			notes = append(notes, changes[i].Made().String())
		}
		if request.DryRun == nil || !*request.DryRun {
			b.found.WithLabelValues(changes[i].Rule, "mutated").Inc()
		}
	}
	return notes
}

// again evaluates the mutations of rules on the object as it is going to be stored. The findings are about rules that
// failed; the warnings tell what the object does not have, although a rule fills it in.
func (b *RuleBook) again(ctx context.Context, request *admissionv1.AdmissionRequest) (found []admissionrule.Finding,
	undone []string, err error,
) {
	if request.Operation == admissionv1.Delete {
		return nil, nil, nil
	}
	mutated, err := b.mutate(ctx, request, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("checking the mutations of rules: %w", err)
	}
	for i := range mutated.Changes {
		undone = append(undone, mutated.Changes[i].Undone().String())
	}
	return mutated.Findings, undone, nil
}

func kindOf(request *admissionv1.AdmissionRequest) schema.GroupKind {
	return schema.GroupKind{Group: request.Kind.Group, Kind: request.Kind.Kind}
}
