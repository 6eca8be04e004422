// Package crdtest does for tests what the API server does with the CRDs of the kinds that Gatehouse reads: it decides
// which objects are stored, and generates random objects that are.
package crdtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"gatehouse/api/definition"
)

// MaxObject is the maximum size of an object in etcd, in bytes of JSON.
const MaxObject = 1_500_000

// Kind is one version of a kind, with the checks of the API server: the schema and the CEL rules of its CRD.
type Kind struct{ *served }

// served has a name of its own, because Kind is already the name of a kind.
type served = definition.Kind

// Kinds returns the served versions of the wanted kinds of Gateway API's experimental channel and of our chart, without
// kinds whose group is experimental.
func Kinds(wanted func(schema.GroupVersionKind) bool) ([]*Kind, error) {
	crds, err := CRDs()
	if err != nil {
		return nil, err
	}
	kinds, err := definition.Kinds(crds, func(gvk schema.GroupVersionKind) bool {
		return gvk.Group != "gateway.networking.x-k8s.io" && wanted(gvk)
	})
	if err != nil {
		return nil, err
	}
	var all []*Kind
	for _, kind := range kinds {
		all = append(all, &Kind{kind})
	}
	return all, nil
}

// CRDs returns the CRDs of Gateway API's experimental channel and of our chart.
func CRDs() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	dirs, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "gatehouse", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		return nil, fmt.Errorf("find the modules: %w", err)
	}
	ours, theirs, _ := strings.Cut(strings.TrimSpace(string(dirs)), "\n")
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, pattern := range []string{
		filepath.Join(theirs, "config/crd/experimental/gateway.networking.*s.yaml"),
		filepath.Join(ours, "manifests/gatehouse-crds/files/*.yaml"),
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("no CRDs at %s: %w", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			crd := &apiextensionsv1.CustomResourceDefinition{}
			if err := yaml.Unmarshal(text, crd); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if crd.Kind == "CustomResourceDefinition" {
				all = append(all, crd)
			}
		}
	}
	return all, nil
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
	k.Default(object)
	if text, err := json.Marshal(object); err != nil || len(text) > MaxObject {
		return false
	}
	return len(k.Validate(object)) == 0
}

// AdmitsSome removes the fields of the spec that the API server rejects. It reports whether the API server would store
// the rest, with the defaults filled in. Otherwise specs of many fields would seldom be admitted.
func (k *Kind) AdmitsSome(object map[string]any) bool {
	for !k.Admits(object) {
		spec, _ := object["spec"].(map[string]any)
		left := len(spec)
		for _, e := range k.Validate(object) {
			if path := strings.FieldsFunc(e.Field, func(c rune) bool { return c == '.' || c == '[' }); len(path) > 1 && path[0] == "spec" {
				delete(spec, path[1])
			}
		}
		if len(spec) == left {
			return false
		}
	}
	return true
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
