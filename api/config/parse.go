package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

const (
	apiVersion = "gateway.envoyproxy.io/v1alpha1"
	kind       = "EnvoyGateway"
)

// Parse reads the configuration from YAML or JSON, fills in defaults and validates it.
func Parse(data []byte) (*EnvoyGateway, error) {
	document, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("reading it as YAML: %w", err)
	}
	c := &EnvoyGateway{}
	strict, err := kjson.UnmarshalStrict(document, c)
	if err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			return nil, fmt.Errorf("%s: write a %s in place of the %s", mismatch.Field, mismatch.Type.Kind(), mismatch.Value)
		}
		return nil, fmt.Errorf("decoding it: %w", err)
	}
	if len(strict) > 0 {
		return nil, errors.Join(withKnownFields(strict)...)
	}
	c.setDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// withKnownFields adds to each error about an unknown field which fields there are at its place.
func withKnownFields(strict []error) []error {
	var explained []error
	for _, err := range strict {
		var at interface{ FieldPath() string }
		if !errors.As(err, &at) {
			explained = append(explained, err)
			continue
		}
		known := knownFields(reflect.TypeFor[EnvoyGateway](), at.FieldPath())
		explained = append(explained, fmt.Errorf("%w: write one of %s", err, strings.Join(known, ", ")))
	}
	return explained
}

// knownFields returns the names of the fields beside the last one of path.
func knownFields(t reflect.Type, path string) []string {
	name, rest, deeper := strings.Cut(path, ".")
	var known []string
	for field := range t.Fields() {
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
			known = append(known, knownFields(field.Type, "")...)
		case deeper && tag == name && field.Type.Kind() == reflect.Struct:
			return knownFields(field.Type, rest)
		default:
			known = append(known, tag)
		}
	}
	slices.Sort(known)
	return known
}
