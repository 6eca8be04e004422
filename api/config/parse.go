package config

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

const (
	apiVersion = "gateway.envoyproxy.io/v1alpha1"
	kind       = "EnvoyGateway"
)

// words are the names that an operator uses for the kinds of values in a configuration.
var words = map[reflect.Kind]string{
	reflect.Struct: "fields",
	reflect.Map:    "keys with values",
	reflect.Bool:   "true or false",
	reflect.String: "a text",
	reflect.Slice:  "a list",
}

// Parse reads the configuration from YAML or JSON, fills in defaults and validates it.
func Parse(data []byte) (*EnvoyGateway, error) {
	document, err := onlyDocument(data)
	if err != nil {
		return nil, err
	}
	c := &EnvoyGateway{}
	strict, err := kjson.UnmarshalStrict(document, c)
	if err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			return nil, fmt.Errorf("%s: write %s in place of the %s", mismatch.Field, words[mismatch.Type.Kind()],
				mismatch.Value)
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

// onlyDocument returns the one document of a YAML stream as JSON.
func onlyDocument(stream []byte) ([]byte, error) {
	only := []byte("{}")
	found := 0
	for docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading it as YAML: %w", err)
		}
		document, err := yaml.YAMLToJSONStrict(doc)
		if err != nil {
			return nil, fmt.Errorf("reading it as YAML: %w", err)
		}
		if string(document) == "null" {
			continue // A document with only comments is empty.
		}
		only = document
		found++
	}
	if found > 1 {
		return nil, fmt.Errorf("it holds %d documents: keep the one of kind %s", found, kind)
	}
	return only, nil
}

// withKnownFields adds the known fields to each error about an unknown field.
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

// isStruct reports whether a type is a struct or a pointer to one.
func isStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct || t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
}

// knownFields returns the names of the fields in the object that contains the last field of path.
func knownFields(t reflect.Type, path string) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name, rest, deeper := strings.Cut(path, ".")
	var known []string
	for field := range t.Fields() {
		tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
			known = append(known, knownFields(field.Type, "")...)
		case deeper && tag == name && isStruct(field.Type):
			return knownFields(field.Type, rest)
		default:
			known = append(known, tag)
		}
	}
	slices.Sort(known)
	return known
}
