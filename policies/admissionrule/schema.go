package admissionrule

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// Schemas returns the schema of a kind as its CRD has it, or nil if it is not known.
type Schemas func(runtimeschema.GroupVersionKind) *schema.Structural

// typeOf is the CEL type of the objects of a kind.
func typeOf(s *schema.Structural, kind string) *apiservercel.DeclType {
	whole := *s
	whole.Properties = map[string]schema.Structural{}
	for name, property := range s.Properties {
		whole.Properties[name] = property
	}
	whole.Properties["apiVersion"], whole.Properties["kind"] = plain("string"), plain("string")
	// The schemas of CRDs have no fields of the metadata.
	whole.Properties["metadata"] = metadata()
	asStored := valuesOf(whole)
	declared := model.SchemaDeclType(&asStored, false)
	if declared == nil {
		return nil
	}
	return declared.MaybeAssignTypeName(kind)
}

// valuesOf changes a schema to the values that expressions get: those of JSON. A string with a format, such as a time,
// is a string, and what has no fields in the schema may be anything.
func valuesOf(s schema.Structural) schema.Structural {
	if s.ValueValidation != nil && s.Type == "string" {
		limits := *s.ValueValidation
		limits.Format = ""
		s.ValueValidation = &limits
	}
	open := s.Type == "object" && len(s.Properties) == 0 && (s.AdditionalProperties == nil || s.AdditionalProperties.Structural == nil)
	if open || s.Type == "" {
		s.XIntOrString = true // The type of such values is dyn.
		return s
	}
	if s.Items != nil {
		items := valuesOf(*s.Items)
		s.Items = &items
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		values := valuesOf(*s.AdditionalProperties.Structural)
		s.AdditionalProperties = &schema.StructuralOrBool{Structural: &values}
	}
	properties := make(map[string]schema.Structural, len(s.Properties))
	for name, property := range s.Properties {
		properties[name] = valuesOf(property)
	}
	s.Properties = properties
	return s
}

// metadata is the schema of the metadata of all objects.
func metadata() schema.Structural {
	text, number := plain("string"), plain("integer")
	owner := object(map[string]schema.Structural{
		"apiVersion": text, "kind": text, "name": text, "uid": text,
		"controller": plain("boolean"), "blockOwnerDeletion": plain("boolean"),
	})
	kept, owners := list(text), list(owner)
	kept.XListType, owners.XListType, owners.XListMapKeys = new("set"), new("map"), []string{"uid"}
	return object(map[string]schema.Structural{
		"name": text, "generateName": text, "namespace": text, "uid": text, "resourceVersion": text, "selfLink": text,
		"generation": number, "deletionGracePeriodSeconds": number,
		"creationTimestamp": text, "deletionTimestamp": text,
		"labels": mapOf(text), "annotations": mapOf(text),
		"finalizers": kept, "ownerReferences": owners,
	})
}

func plain(of string) schema.Structural { return schema.Structural{Generic: schema.Generic{Type: of}} }

func object(properties map[string]schema.Structural) schema.Structural {
	s := plain("object")
	s.Properties = properties
	return s
}

func list(items schema.Structural) schema.Structural {
	s := plain("array")
	s.Items = &items
	return s
}

func mapOf(values schema.Structural) schema.Structural {
	s := plain("object")
	s.AdditionalProperties = &schema.StructuralOrBool{Structural: &values}
	return s
}

// paramsKind is the kind of parameters that is supported.
const paramsVersion, paramsKind = "v1", "ConfigMap"

// paramsType is the CEL type of parameters.
func paramsType() *apiservercel.DeclType {
	text := plain("string")
	config := object(map[string]schema.Structural{"data": mapOf(text), "binaryData": mapOf(text), "immutable": plain("boolean")})
	return typeOf(&config, paramsKind)
}

// unknownSchema warns that a kind cannot be checked.
func unknownSchema(kind runtimeschema.GroupVersionKind) string {
	return fmt.Sprintf("expressions are not checked against the fields of %s, because its CRD is not known: install it, or correct matchConstraints",
		kind.Kind)
}
