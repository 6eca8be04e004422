package offline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"gatehouse/api/definition"
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// object is an object on its way through the steps.
type object struct {
	document
	ref verdict.Ref
	// defined is the kind by its CRD; nil if it has none.
	defined *definition.Kind
	// unknown reports whether the object has fields that the kind does not have.
	unknown bool
	// denied reports whether a policy of the API server has refused it before it could be validated.
	denied bool
	value  map[string]any
	// old is the object as the cluster has it; nil if it is new, or if there is no cluster.
	old map[string]any
	// found are the findings of rules whose mutations could not be made.
	found []admissionrule.Finding
	// typed is the object as the control plane reads it; nil if it reads no such objects.
	typed translator.Object
}

// step is one thing that an API server does with an object, or that Gatehouse does in it. It reports whether the next
// step follows.
type step func(*object) bool

// steps are in the order of an API server. The tables judge what has passed all of them.
func (r *review) steps() []step {
	return []step{r.define, r.name, r.prune, r.fill, r.mutate, r.validate, r.admit, r.rule, r.decode}
}

// become makes another object of it. Fields keep the places that they have in the document.
func (r *review) become(o *object, value map[string]any) {
	o.moved = append(o.moved, movesBetween(o.value, value))
	o.value = value
	if _, named := r.documents[o.ref]; named {
		r.documents[o.ref] = o.located()
	}
}

// define finds the CRD of the object, and names the object.
func (r *review) define(o *object) bool {
	var err error
	o.defined, err = r.definitions.Kind(o.kind)
	metadata, _ := o.value["metadata"].(map[string]any)
	o.ref.Name, _ = metadata["name"].(string)
	if namespaced(o) {
		o.ref.Namespace, _ = metadata["namespace"].(string)
		o.ref.Namespace = cmp.Or(o.ref.Namespace, r.Namespace)
	}
	switch {
	case err != nil:
		r.deny(o.document, o.ref, refused(reasonUnreadable, "", oneLine(err)+": correct the CRD"))
		return false
	case o.defined == nil && r.definitions.Defines(o.kind.GroupKind()):
		r.deny(o.document, o.ref, refused(reasonUnreadable, "apiVersion", fmt.Sprintf(
			"no matches for kind %q in version %q: write a version that its CRD serves", o.kind.Kind,
			o.kind.GroupVersion())))
		return false
	case o.defined == nil && !r.reads(o.kind):
		r.Ignored++
		if r.definitions.DefinesGroup(o.kind.Group) {
			r.warn(o.document, o.ref, verdict.Problem{
				Field: "kind", Reason: reasonUnreadable, Weight: verdict.Unresolved, Message: fmt.Sprintf(
					"no CRD defines kind %q of group %q: correct the kind, or check its CRD too", o.kind.Kind, o.kind.Group),
			})
		}
		if r.Scheme.Recognizes(o.kind) {
			r.mutate(o)
			r.admit(o)
		}
		return false
	}
	return true
}

// prune removes the fields that the kind does not have by its CRD.
func (r *review) prune(o *object) bool {
	if o.defined == nil {
		return true
	}
	unknown, err := o.defined.Prune(o.value)
	if err != nil {
		r.deny(o.document, o.ref, refused(reasonUnreadable, "metadata", oneLine(err)+": correct the form of the object"))
		return false
	}
	o.unknown = len(unknown) > 0
	for _, path := range unknown {
		r.deny(o.document, o.ref, unknownField(path))
	}
	return true
}

// name refuses objects without a name and objects that are there twice.
func (r *review) name(o *object) bool {
	if o.ref.Name == "" {
		r.deny(o.document, o.ref, refused(reasonUnreadable, "metadata", "the object has no name: write metadata.name"))
		return false
	}
	if before, twice := r.documents[o.ref]; twice {
		at := before.place("")
		r.deny(o.document, o.ref, refused(reasonDuplicate, "", fmt.Sprintf(
			"the object is also in %s, line %d: remove one of them", at.File, at.Line)))
		return false
	}
	metadata, _ := o.value["metadata"].(map[string]any)
	if metadata["namespace"] = o.ref.Namespace; o.ref.Namespace == "" {
		delete(metadata, "namespace")
	}
	r.age(o, metadata)
	r.documents[o.ref] = o.located()
	r.Judged = append(r.Judged, o.ref)
	return true
}

// reads reports whether the control plane reads objects of a kind.
func (r *review) reads(kind schema.GroupVersionKind) bool {
	made, err := r.Scheme.New(r.version(kind))
	if err != nil {
		return false
	}
	typed, ok := made.(translator.Object)
	return ok && r.World.Knows(typed)
}

// version is the version of a kind that the control plane reads. Versions of one kind have the same fields.
func (r *review) version(kind schema.GroupVersionKind) schema.GroupVersionKind {
	if r.Scheme.Recognizes(kind) {
		return kind
	}
	for _, version := range r.Scheme.VersionsForGroupKind(kind.GroupKind()) {
		return version.WithKind(kind.Kind)
	}
	return kind
}

// fill fills in the defaults of the CRD.
func (r *review) fill(o *object) bool {
	if o.defined != nil {
		o.defined.Default(o.value)
	}
	return true
}

// webhook does what the mutating webhook of Gatehouse does: it fills in the defaults of admission and those of rules.
func (r *review) webhook(o *object) {
	for _, note := range webhook.Default(o.kind.GroupKind(), o.value) {
		at, message, _ := strings.Cut(note, ": ")
		r.warn(o.document, o.ref, verdict.Problem{
			Field: at, Reason: reasonDefaulted, Weight: verdict.Unresolved, Message: message,
		})
	}
	if o.defined != nil {
		o.defined.Default(o.value)
	}
	r.mutateByRules(o)
}

// validate finds what the CRD refuses. Like the API server, it does not validate an object with unknown fields, because
// their values are missing where they belong. The tables judge an object that is refused too, as if it were stored:
// otherwise it would be reported as missing wherever something refers to it.
func (r *review) validate(o *object) bool {
	if o.defined == nil || o.unknown {
		return true
	}
	for _, err := range o.defined.Validate(o.value) {
		at := err.Field
		if at == "<nil>" {
			at = "" // It is about the whole object.
		}
		if at != "" {
			r.invalid[o.ref] = append(r.invalid[o.ref], at)
		}
		r.deny(o.document, o.ref, refused(string(err.Type), at, strings.Join(strings.Fields(err.ErrorBody()), " ")))
	}
	return true
}

// decode decodes the object as admission does.
func (r *review) decode(o *object) bool {
	if !r.reads(o.kind) {
		return false
	}
	if o.defined != nil && (o.unknown || len(r.invalid[o.ref]) > 0) {
		o.defined.Single(o.value) // The tables rely on it, and the object is refused.
	}
	kind := r.version(o.kind)
	o.value["apiVersion"] = kind.GroupVersion().String()
	raw, err := json.Marshal(o.value)
	if err == nil && o.defined == nil && kind.Group != v1alpha1.GroupName {
		err = r.strict(o, kind, raw)
	}
	if err == nil {
		o.typed, err = webhook.Decode(r.Scheme, kind, raw)
	}
	if err == nil {
		return true
	}
	if len(r.invalid[o.ref]) == 0 && !o.unknown { // Otherwise the schema has said it, or does not come to it.
		r.deny(o.document, o.ref, refused(reasonUnreadable, "", oneLine(err)+": correct the form of the object"))
	}
	return false
}

// strict lists the fields that the API server would refuse although the kind has no CRD: kubectl asks it to be strict.
// Our own kinds keep the fields that they do not know, and the translation reports them.
func (r *review) strict(o *object, kind schema.GroupVersionKind, raw []byte) error {
	into, err := r.Scheme.New(kind)
	if err != nil {
		return fmt.Errorf("decoding the object: %w", err)
	}
	unknown, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return err
	}
	for _, each := range unknown {
		_, path, _ := strings.Cut(each.Error(), `"`)
		r.deny(o.document, o.ref, unknownField(strings.TrimSuffix(path, `"`)))
	}
	return nil
}

func unknownField(path string) verdict.Problem {
	return refused(reasonUnknownField, path, fmt.Sprintf("unknown field %q: correct its name or remove it", path))
}

// said reports whether the schema has refused a field, or one around it.
func said(refused []string, at string) bool {
	for _, outer := range refused {
		rest, inside := strings.CutPrefix(at, outer)
		if inside && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
