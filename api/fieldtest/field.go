// Package fieldtest says for tests which fields a kind has, and what each of them changes.
package fieldtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"gatehouse/api/crdtest"
)

// Field is one field of a kind's spec.
type Field struct {
	// Path begins with spec, and [] follows the name of a list: spec.targetRefs[].name.
	Path string
	// Type is that of the schema, "quantity" for an integer or a text, "map" for an object with any keys, and "json" for
	// any value. That of a list is the type of its items after [].
	Type   string
	Schema *apiextensionsv1.JSONSchemaProps
	// Required reports whether the API server refuses the object around it if the field is not there.
	Required bool
}

// Fields returns the fields of the spec of a kind of our chart, sorted by path.
func Fields(kind string) ([]Field, error) {
	crds, err := crdtest.CRDs()
	if err != nil {
		return nil, err
	}
	for _, crd := range crds {
		if crd.Spec.Names.Kind == kind {
			schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
			return fieldsOf("spec", &schema, nil), nil
		}
	}
	return nil, fmt.Errorf("no CRD of kind %s", kind)
}

// fieldsOf adds the fields of an object, or of the items of a list.
func fieldsOf(path string, schema *apiextensionsv1.JSONSchemaProps, fields []Field) []Field {
	if schema.Items != nil {
		return fieldsOf(path+"[]", schema.Items.Schema, fields)
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		field := schema.Properties[name]
		fields = append(fields, Field{
			Path: path + "." + name, Type: typeOf(&field), Schema: &field, Required: slices.Contains(schema.Required, name),
		})
		fields = fieldsOf(path+"."+name, &field, fields)
	}
	return fields
}

func typeOf(schema *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case schema.Items != nil:
		return "[]" + typeOf(schema.Items.Schema)
	case schema.XIntOrString:
		return "quantity"
	case schema.AdditionalProperties != nil:
		return "map"
	case schema.Type == "":
		return "json"
	default:
		return schema.Type
	}
}

// Limits are those of the schema in words, such as "1 to 100; default 95". Rules in CEL are not among them.
func (f Field) Limits() string {
	var limits []string
	add := func(format string, args ...any) { limits = append(limits, fmt.Sprintf(format, args...)) }
	schema := f.Schema
	if f.Required {
		add("required")
	}
	if schema.Items != nil {
		add("%s", span(schema.MinItems, schema.MaxItems, "items"))
		schema = schema.Items.Schema
	}
	if len(schema.Enum) > 0 {
		var values []string
		for _, value := range schema.Enum {
			values = append(values, strings.Trim(string(value.Raw), `"`))
		}
		add("%s", strings.Join(values, ", "))
	}
	add("%s", span(whole(schema.Minimum), whole(schema.Maximum), ""))
	add("%s", span(schema.MinLength, schema.MaxLength, "characters"))
	if schema.Pattern != "" {
		add("`%s`", strings.ReplaceAll(schema.Pattern, "|", `\|`))
	}
	if value := f.Schema.Default; value != nil {
		add("default %s", strings.Trim(string(value.Raw), `"`))
	}
	return strings.Join(slices.DeleteFunc(limits, func(limit string) bool { return limit == "" }), "; ")
}

func whole(limit *float64) *int64 {
	if limit == nil {
		return nil
	}
	n := int64(*limit)
	return &n
}

// span says what a number, or a number of things, may be.
func span(least, most *int64, things string) string {
	var text string
	switch {
	case least != nil && most != nil:
		text = fmt.Sprintf("%d to %d", *least, *most)
	case least != nil:
		text = fmt.Sprintf("at least %d", *least)
	case most != nil:
		text = fmt.Sprintf("up to %d", *most)
	default:
		return ""
	}
	return strings.TrimSpace(text + " " + things)
}
