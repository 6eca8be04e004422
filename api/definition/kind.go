// Package definition does with objects what the API server does by the CRDs of their kinds when they are created: it
// finds fields that a kind does not have, fills in defaults, and validates by schemas and CEL rules. The order of the
// steps and the words are those of the API server, whose own packages do the work.
package definition

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/operation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// Kind is one served version of a kind.
type Kind struct {
	schema.GroupVersionKind
	// Resource is the name of the kind in URLs.
	Resource string
	// Namespaced reports whether objects are in namespaces.
	Namespaced bool
	// Schema has the fields of the kind. It must not be changed.
	Schema *structuralschema.Structural

	// hasStatus reports whether status is a subresource, which cannot be set when an object is created.
	hasStatus bool
	acceptor  *acceptor
	validator validation.SchemaValidator
	cel       *cel.Validator
}

// newKind compiles the schema and the rules of a version. An error means that the API server would not serve it.
func newKind(crd *apiextensionsv1.CustomResourceDefinition, version *apiextensionsv1.CustomResourceDefinitionVersion) (
	*Kind, error,
) {
	props := &apiextensions.JSONSchemaProps{Type: "object"}
	if version.Schema != nil && version.Schema.OpenAPIV3Schema != nil {
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
			version.Schema.OpenAPIV3Schema, props, nil); err != nil {
			return nil, fmt.Errorf("reading the schema: %w", err)
		}
	}
	structural, err := structuralschema.NewStructural(props)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	if err := defaulting.PruneDefaults(structural); err != nil {
		return nil, fmt.Errorf("reading the defaults of the schema: %w", err)
	}
	validator, openAPI, err := validation.NewSchemaValidator(props)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return &Kind{
		GroupVersionKind: schema.GroupVersionKind{
			Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind,
		},
		Resource: crd.Spec.Names.Plural, Namespaced: crd.Spec.Scope != apiextensionsv1.ClusterScoped,
		Schema: structural, hasStatus: version.Subresources != nil && version.Subresources.Status != nil,
		acceptor: newAcceptor(openAPI), validator: validator, cel: cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}, nil
}

// Prune removes the fields that the kind does not have, and returns their paths. It also removes the status if it is a
// subresource. An error means that metadata has values of the wrong types.
func (k *Kind) Prune(object map[string]any) (unknown []string, err error) {
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(object, objectmeta.ObjectMetaOptions{
		ReturnUnknownFieldPaths: true,
	})
	if err != nil {
		return nil, err
	}
	version, kind := object["apiVersion"], object["kind"]
	unknown = append(unknown, pruning.PruneWithOptions(object, k.Schema, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	defaulting.PruneNonNullableNullsWithoutDefaults(object, k.Schema)
	failure, inside := objectmeta.CoerceWithOptions(nil, object, k.Schema, false, objectmeta.CoerceOptions{
		ReturnUnknownFieldPaths: true,
	})
	if failure != nil {
		return nil, failure
	}
	object["apiVersion"], object["kind"] = version, kind
	if found {
		if err := objectmeta.SetObjectMeta(object, meta); err != nil {
			return nil, err
		}
	}
	if k.hasStatus {
		delete(object, "status")
	}
	return append(unknown, inside...), nil
}

// Default fills in the defaults of the schema.
func (k *Kind) Default(object map[string]any) { defaulting.Default(object, k.Schema) }

// Validate returns what the API server would say if the object were created. CEL rules are not evaluated for an object
// whose schema errors prevent it; an error says so.
func (k *Kind) Validate(object map[string]any) field.ErrorList {
	ctx := context.Background()
	errs := k.validateMeta(ctx, object)
	if !k.acceptor.accepts(object) {
		errs = append(errs, validation.ValidateCustomResource(nil, object, k.validator)...)
	}
	errs = append(errs, objectmeta.Validate(ctx, nil, object, k.Schema, false)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.Schema, object)...)
	if slices.ContainsFunc(errs, blocking) {
		return append(errs, field.Invalid(nil, nil, "some validation rules were not checked because the object was "+
			"invalid; correct the existing errors to complete validation"))
	}
	schema := narrow(k.Schema, []any{object})
	broken, _ := with(k.cel, schema).Validate(ctx, nil, schema, object, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, broken...)
}

// validateMeta validates names, labels and annotations.
func (k *Kind) validateMeta(ctx context.Context, object map[string]any) field.ErrorList {
	at, meta := field.NewPath("metadata"), &metav1.ObjectMeta{}
	if fields, ok := object["metadata"].(map[string]any); ok {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, meta); err != nil {
			return field.ErrorList{field.Invalid(at, fields, err.Error())}
		}
	}
	return metavalidation.ValidateObjectMetaDeclaratively(ctx, operation.Create, meta, nil, k.Namespaced,
		metavalidation.NameIsDNSSubdomain, at, true)
}

// blocking reports whether an error prevents the evaluation of CEL rules.
func blocking(err *field.Error) bool {
	switch err.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany,
		field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}
