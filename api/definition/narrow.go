package definition

import (
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
)

// The rules of a CRD read an object by its schema, and the API server's own code copies all fields of a schema for each
// field that a rule reads. So rules are evaluated with a schema that has only the fields which the object has. They find
// the same: a field that the object does not have is not found whatever its schema is.

// narrow returns a schema with the fields that some of the values have, which are all in its place.
func narrow(s *structuralschema.Structural, values []any) *structuralschema.Structural {
	if s == nil {
		return nil
	}
	narrowed := *s
	inside := map[string][]any{}
	var items, fields []any
	for _, value := range values {
		switch value := value.(type) {
		case map[string]any:
			for name, inner := range value {
				inside[name], fields = append(inside[name], inner), append(fields, inner)
			}
		case []any:
			items = append(items, value...)
		}
	}
	if s.Properties != nil {
		narrowed.Properties = make(map[string]structuralschema.Structural, len(inside))
		for name, inner := range inside {
			if property, known := s.Properties[name]; known {
				narrowed.Properties[name] = *narrow(&property, inner)
			}
		}
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		others := *s.AdditionalProperties
		others.Structural = narrow(others.Structural, fields)
		narrowed.AdditionalProperties = &others
	}
	narrowed.Items = narrow(s.Items, items)
	return &narrowed
}

// with returns a validator that reads objects by a narrowed schema.
func with(v *cel.Validator, s *structuralschema.Structural) *cel.Validator {
	if v == nil {
		return nil
	}
	narrowed := *v
	narrowed.Schema = s
	narrowed.Items = with(v.Items, s.Items)
	if s.AdditionalProperties != nil {
		narrowed.AdditionalProperties = with(v.AdditionalProperties, s.AdditionalProperties.Structural)
	}
	narrowed.Properties = make(map[string]cel.Validator, len(s.Properties))
	for name := range s.Properties {
		if property, has := v.Properties[name]; has {
			field := s.Properties[name]
			narrowed.Properties[name] = *with(&property, &field)
		}
	}
	narrowed.AllOfValidators = make([]*cel.Validator, len(v.AllOfValidators))
	for i := range v.AllOfValidators {
		narrowed.AllOfValidators[i] = with(v.AllOfValidators[i], s)
	}
	return &narrowed
}
