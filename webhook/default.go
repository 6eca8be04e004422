package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// Mutation fills in defaults that a CRD cannot express and that need no other object.
type Mutation struct {
	// Name says what the mutation fills in.
	Name string
	// Kinds are the kinds that the mutation applies to, in any version.
	Kinds []schema.GroupKind
	// Mutate fills in what is missing, and reports whether anything was. It must be idempotent, because every mutated
	// field is drift for users who keep the object in a repository. It must not change an object that does not have the
	// right form. Notes are warnings that tell the user what was chosen.
	Mutate func(object map[string]any) (changed bool, notes []string)
}

// Mutations are applied in order. To add one, add an entry.
var Mutations = []Mutation{
	targetReferences,
	certificateRefs,
}

// mutator returns the defaults to fill in: those of Gatehouse, and then those of AdmissionRules.
type mutator struct {
	mutations []Mutation
	levels    levels
	rules     *RuleBook
}

// answer admits everything. An object that cannot be decoded passes unchanged, and the schema rejects it. A rule whose
// mutations fail changes nothing, and the validator rejects the object for it.
func (m *mutator) answer(ctx context.Context, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse,
	error,
) {
	response := &admissionv1.AdmissionResponse{Allowed: true}
	if request.Operation != admissionv1.Create && request.Operation != admissionv1.Update || request.SubResource != "" {
		return response, nil
	}
	kind := kindOf(request)
	own := slices.ContainsFunc(m.mutations, func(d Mutation) bool { return slices.Contains(d.Kinds, kind) })
	if _, rules := m.rules.mutating(kind); !own && len(rules) == 0 {
		return response, nil
	}
	object, err := fields(request.Object.Raw)
	if err != nil || leaving(object) {
		return response, nil //nolint:nilerr // The API server words what is wrong with the form of an object.
	}
	var notes []string
	changed := false
	if level, _ := m.levels.of(ctx, request.Namespace); own && level != LevelOff {
		notes, changed = m.mutate(kind, object)
	}
	ruled, err := m.rules.mutate(ctx, request, object)
	if err != nil {
		return nil, err
	}
	if !changed && len(ruled.Changes) == 0 {
		return response, nil
	}
	if err := setPatch(response, request.Object.Raw, ruled.Object); err != nil {
		return nil, err
	}
	response.Warnings = fit(append(notes, m.rules.made(request, ruled.Changes)...))
	return response, nil
}

// setPatch sets the JSON patch that makes the mutated object of the one that was given. Both are written in the same form,
// or large numbers that nobody has changed would be in it.
func setPatch(response *admissionv1.AdmissionResponse, raw []byte, mutated map[string]any) error {
	given, err := fields(raw)
	if err != nil {
		return err
	}
	before, err := json.Marshal(given)
	if err != nil {
		return fmt.Errorf("encoding the object: %w", err)
	}
	after, err := json.Marshal(mutated)
	if err != nil {
		return fmt.Errorf("encoding the mutated object: %w", err)
	}
	patch := admission.PatchResponseFromRaw(before, after)
	if response.Patch, err = json.Marshal(patch.Patches); err != nil {
		return fmt.Errorf("encoding the patch: %w", err)
	}
	response.PatchType = patch.PatchType
	return nil
}

// Default fills in the defaults of admission in an object of a kind, and returns the warnings about what was chosen.
func Default(kind schema.GroupKind, object map[string]any) (notes []string) {
	notes, _ = (&mutator{mutations: Mutations}).mutate(kind, object)
	return notes
}

func (m *mutator) mutate(kind schema.GroupKind, object map[string]any) (notes []string, changed bool) {
	for _, mutation := range m.mutations {
		if !slices.Contains(mutation.Kinds, kind) {
			continue
		}
		did, said := mutation.Mutate(object)
		changed = changed || did
		notes = append(notes, said...)
	}
	return notes, changed
}
