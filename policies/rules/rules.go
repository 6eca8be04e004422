// Package rules checks single objects with rules that are data: YAML files with CEL expressions.
//
// A rule checks something that neither the schema of a kind nor its CEL markers can check, and that needs no other
// object and no parser. The expressions have the same function libraries and cost limits as in the API server.
// Admission, the controller and the review of files call the same engine, so that they report the same.
package rules

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

//go:embed builtin/*.yaml
var builtin embed.FS

// Engine has compiled rules. It is safe for concurrent use.
type Engine struct {
	rules map[schema.GroupKind][]*compiled
	// kinds returns the kind of objects that do not have one themselves, such as those of informers.
	kinds *runtime.Scheme
}

// Builtin returns the engine with the rules that are part of Gatehouse.
func Builtin() (*Engine, error) { return New(builtinFiles()) }

// BuiltinRules returns the rules that are part of Gatehouse, in the order of their names.
func BuiltinRules() ([]*Rule, error) { return parseAll(builtinFiles()) }

// New compiles every *.yaml file of a directory, with one rule each. A rule that does not compile is an error, which
// names the file, the field and the problem.
func New(files fs.FS) (*Engine, error) {
	kinds, err := newKinds()
	if err != nil {
		return nil, err
	}
	env, err := newEnv()
	if err != nil {
		return nil, err
	}
	rules, err := parseAll(files)
	if err != nil {
		return nil, err
	}
	e := &Engine{rules: map[schema.GroupKind][]*compiled{}, kinds: kinds}
	for _, rule := range rules {
		c, err := compile(env, rule)
		if err != nil {
			return nil, fmt.Errorf("rule %s.yaml: %w", rule.Name, err)
		}
		for _, k := range rule.Kinds {
			e.rules[k.groupKind()] = append(e.rules[k.groupKind()], c)
		}
	}
	return e, nil
}

// newKinds returns the kinds that rules can be about, with their versions.
func newKinds() (*runtime.Scheme, error) {
	kinds := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{gwapiv1.Install, v1alpha1.AddToScheme} {
		if err := add(kinds); err != nil {
			return nil, fmt.Errorf("registering the kinds that rules check: %w", err)
		}
	}
	return kinds, nil
}

// parseAll parses the rules of a directory, in the order of their names.
func parseAll(files fs.FS) ([]*Rule, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("listing rules: %w", err)
	}
	rules := make([]*Rule, len(names))
	for i, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("reading rule %s: %w", name, err)
		}
		rule, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", name, err)
		}
		if want := rule.Name + ".yaml"; path.Base(name) != want {
			return nil, fmt.Errorf("rule %s: name: %q is not the name of the file: name the file %s", name, rule.Name, want)
		}
		rules[i] = rule
	}
	return rules, nil
}

// builtinFiles has the files of the rules that are part of Gatehouse.
func builtinFiles() fs.FS {
	files, err := fs.Sub(builtin, "builtin")
	if err != nil {
		panic("opening the built-in rules: " + err.Error()) // The name is a constant.
	}
	return files
}

// Check returns the object's violations of rules, in the order of the rules' names and of the object's own lists. It is
// pure and does not modify the object. Rules see the metadata (name, namespace, labels, annotations) and the spec, or
// the whole object if it has no spec. They never see the status, which users do not write.
func (e *Engine) Check(obj runtime.Object) []verdict.Problem {
	rules := e.rules[e.kindOf(obj)]
	if len(rules) == 0 {
		return nil
	}
	self, err := visible(obj)
	if err != nil {
		return []verdict.Problem{broken("", "the object cannot be read by rules: %v: correct its form", err)}
	}
	budget := newBudget()
	var problems []verdict.Problem
	for _, r := range rules {
		problems = append(problems, r.check(self, budget)...)
	}
	return problems
}

func (e *Engine) kindOf(obj runtime.Object) schema.GroupKind {
	if gk := obj.GetObjectKind().GroupVersionKind().GroupKind(); gk.Kind != "" {
		return gk
	}
	gvks, _, err := e.kinds.ObjectKinds(obj)
	if err != nil || len(gvks) == 0 {
		return schema.GroupKind{} // No rule can be about an unserved kind.
	}
	return gvks[0].GroupKind()
}

// visible is the part of an object that rules see. Converting only the spec saves most of the work: managedFields and
// status are often larger than the user's part.
func visible(obj runtime.Object) (map[string]any, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		self := make(map[string]any, len(u.Object))
		for field, value := range u.Object {
			if field != "status" {
				self[field] = value
			}
		}
		return self, nil
	}
	value := reflect.ValueOf(obj)
	if value.Kind() != reflect.Pointer || value.IsNil() {
		return nil, fmt.Errorf("%T is not a pointer to an object", obj)
	}
	spec := value.Elem().FieldByName("Spec")
	if !spec.IsValid() || spec.Kind() != reflect.Struct {
		return runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	}
	converted, err := runtime.DefaultUnstructuredConverter.ToUnstructured(spec.Addr().Interface())
	if err != nil {
		return nil, fmt.Errorf("converting the spec of a %T: %w", obj, err)
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("reading the metadata of a %T: %w", obj, err)
	}
	metadata := map[string]any{"name": accessor.GetName()}
	if namespace := accessor.GetNamespace(); namespace != "" {
		metadata["namespace"] = namespace
	}
	if labels := accessor.GetLabels(); len(labels) > 0 {
		metadata["labels"] = labels
	}
	if annotations := accessor.GetAnnotations(); len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	return map[string]any{"metadata": metadata, "spec": converted}, nil
}
