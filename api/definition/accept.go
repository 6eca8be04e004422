package definition

import (
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// acceptor says whether a value is valid by its schema. The validator of the API server says why a value is not valid, but
// makes new validators for all fields of a schema each time. An acceptor has one for each of them, and walks only through
// the fields that the value has.
type acceptor struct {
	// own validates the value without regard to the values in it.
	own *validate.SchemaValidator
	// fields, others and items are for the fields that are listed, for all others and for the entries of a list.
	fields        map[string]*acceptor
	others, items *acceptor
}

// newAcceptor divides a schema. What it cannot divide is left to the validator of the value.
func newAcceptor(of *spec.Schema) *acceptor {
	a, own := &acceptor{}, *of
	if others := own.AdditionalProperties; len(own.PatternProperties) == 0 && (others == nil || others.Allows) {
		if others != nil && others.Schema != nil {
			a.others = newAcceptor(others.Schema)
		}
		a.fields = make(map[string]*acceptor, len(own.Properties))
		for name := range own.Properties {
			field := own.Properties[name]
			a.fields[name] = newAcceptor(&field)
		}
		own.Properties, own.AdditionalProperties = nil, nil
	}
	if own.Items != nil && own.Items.Schema != nil && len(own.Items.Schemas) == 0 && own.AdditionalItems == nil {
		a.items = newAcceptor(own.Items.Schema)
		own.Items = nil
	}
	a.own = validate.NewSchemaValidator(&own, nil, "", strfmt.Default)
	return a
}

// accepts reports whether a value is valid. It returns the same as the validator of the API server.
func (a *acceptor) accepts(value any) bool {
	if !a.own.Validate(value).IsValid() {
		return false
	}
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			field := a.fields[name]
			if field == nil {
				field = a.others
			}
			if field != nil && !field.accepts(inner) {
				return false
			}
		}
	case []any:
		for _, inner := range value {
			if a.items != nil && !a.items.accepts(inner) {
				return false
			}
		}
	}
	return true
}
