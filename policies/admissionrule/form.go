package admissionrule

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Form is what mutations need to know of a kind. It is safe for concurrent use.
type Form struct {
	// Types merge apply configurations into objects of the kind.
	Types  managedfields.TypeConverter
	schema *schema.Structural
}

// NewForm returns the form of a kind with the schema of its CRD, which must not be changed any more.
func NewForm(kind runtimeschema.GroupVersionKind, s *schema.Structural) (*Form, error) {
	whole := *s
	whole.Properties = maps.Clone(s.Properties)
	if whole.Properties == nil {
		whole.Properties = map[string]schema.Structural{}
	}
	managed := plain("object")
	managed.XPreserveUnknownFields = true
	meta := metadata()
	meta.Properties["managedFields"] = list(managed)
	whole.Properties["apiVersion"], whole.Properties["kind"], whole.Properties["metadata"] = plain("string"), plain("string"), meta
	model := whole.ToKubeOpenAPI()
	model.AddExtension("x-kubernetes-group-version-kind", []any{
		map[string]any{"group": kind.Group, "version": kind.Version, "kind": kind.Kind},
	})
	types, err := managedfields.NewTypeConverter(map[string]*spec.Schema{kind.Kind: model}, false)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of %s: %w", kind.Kind, err)
	}
	return &Form{Types: types, schema: s}, nil
}

// types are nil for a kind that is not known.
func (f *Form) types() managedfields.TypeConverter {
	if f == nil {
		return nil
	}
	return f.Types
}

// complete does with a mutated object what the API server does next: it refuses new fields that the kind does not have,
// and fills in the defaults of the CRD, unless the object did not have its defaults before.
func (f *Form) complete(before, after map[string]any) error {
	known := f.unknown(before)
	for _, path := range f.unknown(after) {
		if !slices.Contains(known, path) {
			return fmt.Errorf("it writes %s, and the kind has no such field", path)
		}
	}
	defaulted := runtime.DeepCopyJSON(before)
	if defaulting.Default(defaulted, f.schema); reflect.DeepEqual(defaulted, before) {
		defaulting.Default(after, f.schema)
	}
	return nil
}

// unknown are the paths of the fields that the kind does not have.
func (f *Form) unknown(object map[string]any) []string {
	return pruning.PruneWithOptions(runtime.DeepCopyJSON(object), f.schema, true,
		schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
}

// maxObject is the largest object that the API server stores, in bytes.
const maxObject = 3 << 20

// plainJSON is an object with the values that JSON decodes to. It shares nothing with the object.
func plainJSON(object map[string]any) (map[string]any, error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("its result is not JSON: %w", err)
	}
	if len(raw) > maxObject {
		return nil, fmt.Errorf("its result has %d bytes, and an object can have %d", len(raw), maxObject)
	}
	var decoded map[string]any
	if err := utiljson.Unmarshal(raw, &decoded); err != nil {
		return nil, fmt.Errorf("its result cannot be decoded: %w", err)
	}
	return decoded, nil
}

// changeable are the fields of the metadata that mutations can change.
var changeable = []string{"annotations", "finalizers", "labels", "ownerReferences"}

// fixed is why mutations cannot change a field; empty if they can. Fields of the metadata are named one by one.
func fixed(path ...string) string {
	switch {
	case len(path) == 0 || path[0] == "spec":
		return ""
	case path[0] != "metadata":
		return fmt.Sprintf("mutations can only change metadata and spec, and not %s", path[0])
	case len(path) == 1:
		return "mutations cannot replace the whole metadata"
	case !slices.Contains(changeable, path[1]):
		return fmt.Sprintf("mutations cannot change metadata.%s: of the metadata, they can only change %s", path[1], strings.Join(changeable, ", "))
	}
	return ""
}
