// Package crdtest does for tests what the API server does with the CRDs of the kinds that Gatehouse reads: it decides
// which objects are stored, and generates random objects that are.
package crdtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// MaxObject is the maximum size of an object in etcd, in bytes of JSON.
const MaxObject = 1_500_000

// Kind is one version of a kind, with the checks of the API server: the schema and the CEL rules of its CRD.
type Kind struct {
	schema.GroupVersionKind
	whole     *structuralschema.Structural
	validator validation.SchemaValidator
	cel       *cel.Validator
}

// Kinds returns the served versions of the wanted kinds of Gateway API's experimental channel and of our chart.
func Kinds(wanted func(schema.GroupVersionKind) bool) ([]*Kind, error) {
	dirs, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "gatehouse", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		return nil, fmt.Errorf("find the modules: %w", err)
	}
	ours, theirs, _ := strings.Cut(strings.TrimSpace(string(dirs)), "\n")
	var all []*Kind
	for _, pattern := range []string{
		filepath.Join(theirs, "config/crd/experimental/gateway.networking.k8s.io_*s.yaml"),
		filepath.Join(ours, "manifests/gatehouse-crds/files/*.yaml"),
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("no CRDs at %s: %w", pattern, err)
		}
		for _, file := range files {
			kinds, err := read(file, wanted)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			all = append(all, kinds...)
		}
	}
	return all, nil
}

// read returns the kinds of a file, none if it does not contain a CRD.
func read(file string, wanted func(schema.GroupVersionKind) bool) ([]*Kind, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(text, definition); err != nil || definition.Kind != "CustomResourceDefinition" {
		return nil, err
	}
	var kinds []*Kind
	for _, version := range definition.Spec.Versions {
		gvk := schema.GroupVersionKind{Group: definition.Spec.Group, Version: version.Name, Kind: definition.Spec.Names.Kind}
		if !version.Served || !wanted(gvk) {
			continue
		}
		kind, err := newKind(gvk, version.Schema.OpenAPIV3Schema)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

func newKind(gvk schema.GroupVersionKind, openAPI *apiextensionsv1.JSONSchemaProps) (*Kind, error) {
	props := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(openAPI, props,
		nil); err != nil {
		return nil, err
	}
	whole, err := structuralschema.NewStructural(props)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return nil, err
	}
	return &Kind{
		GroupVersionKind: gvk, whole: whole, validator: validator,
		cel: cel.NewValidator(whole, true, celconfig.PerCallLimit),
	}, nil
}

// Object is an object of the kind.
func (k *Kind) Object(namespace, name string, spec any) map[string]any {
	return map[string]any{
		"apiVersion": k.GroupVersion().String(), "kind": k.Kind,
		"metadata": map[string]any{"name": name, "namespace": namespace}, "spec": spec,
	}
}

// Admits reports whether the API server would store the object. If so, it fills in the defaults.
func (k *Kind) Admits(object map[string]any) bool {
	defaulting.Default(object, k.whole)
	if text, err := json.Marshal(object); err != nil || len(text) > MaxObject {
		return false
	}
	if len(validation.ValidateCustomResource(nil, object, k.validator)) > 0 ||
		len(listtype.ValidateListSetsAndMaps(nil, k.whole, object)) > 0 {
		return false
	}
	errs, _ := k.cel.Validate(context.Background(), field.NewPath(""), k.whole, object, nil,
		celconfig.RuntimeCELCostBudget)
	return len(errs) == 0
}

// Typed returns the object in the Go type of a scheme. This fails for some objects that the schema admits: for example,
// it does not check the form of a quantity.
func (k *Kind) Typed(object map[string]any, scheme *runtime.Scheme) (runtime.Object, error) {
	typed, err := scheme.New(k.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	return typed, runtime.DefaultUnstructuredConverter.FromUnstructured(object, typed)
}
