package effective

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// Type is the type of a Configuration in CEL. Expressions about Data are checked against it. Durations and times are
// strings: duration(x) and timestamp(x) read them.
func Type() *apiservercel.DeclType { return declared(reflect.TypeFor[Configuration]()) }

// texts are types that are strings in JSON.
var texts = []reflect.Type{reflect.TypeFor[metav1.Duration](), reflect.TypeFor[metav1.Time]()}

func declared(t reflect.Type) *apiservercel.DeclType {
	if slices.Contains(texts, t) {
		return apiservercel.StringType
	}
	switch t.Kind() {
	case reflect.Pointer:
		return declared(t.Elem())
	case reflect.String:
		return apiservercel.StringType
	case reflect.Bool:
		return apiservercel.BoolType
	case reflect.Int64:
		return apiservercel.IntType
	case reflect.Slice:
		return apiservercel.NewListType(declared(t.Elem()), math.MaxInt)
	case reflect.Map:
		return apiservercel.NewMapType(apiservercel.StringType, declared(t.Elem()), math.MaxInt)
	case reflect.Struct:
		fields := map[string]*apiservercel.DeclField{}
		for _, f := range Fields(t) {
			fields[f.Name] = apiservercel.NewDeclField(f.Name, declared(f.Type), !f.Optional, nil, nil)
		}
		return apiservercel.NewObjectType("gatehouse."+t.Name(), fields)
	}
	panic(fmt.Sprintf("effective: %s has no type in CEL", t)) // A mistake in the structs of this package.
}

// Field is a field of one of the structs as it is in JSON.
type Field struct {
	Name string
	Type reflect.Type
	// Optional reports whether it may be absent.
	Optional bool
	// Struct and Go are where it is declared, and its name there.
	Struct reflect.Type
	Go     string
}

// Fields lists the fields of a struct, and those of structs that are inlined in it.
func Fields(t reflect.Type) (fields []Field) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous:
			fields = append(fields, Fields(f.Type)...)
		default:
			fields = append(fields, Field{
				Name: name, Type: f.Type, Optional: strings.Contains(options, "omitempty"), Struct: t, Go: f.Name,
			})
		}
	}
	return fields
}

// Data is the configuration as a value of Type: maps, lists, strings, numbers and booleans. Routes of one listener
// share its map, so nobody may write to it.
func (c *Configuration) Data() (map[string]any, error) {
	encode := runtime.DefaultUnstructuredConverter.ToUnstructured
	entries := map[*Entry]map[string]any{}
	routes, listeners := make([]any, len(c.Routes)), make([]any, len(c.Listeners))
	for i, route := range c.Routes {
		alone := *route
		alone.Listener = nil
		data, err := encode(&alone)
		if err != nil {
			return nil, fmt.Errorf("encode %s %s/%s: %w", route.Kind, route.Namespace, route.Name, err)
		}
		if entries[route.Listener] == nil {
			if entries[route.Listener], err = encode(route.Listener); err != nil {
				return nil, fmt.Errorf("encode listener %s: %w", route.Listener.Name, err)
			}
		}
		data["listener"], routes[i] = entries[route.Listener], data
	}
	for i, l := range c.Listeners {
		data, err := encode(l)
		if err != nil {
			return nil, fmt.Errorf("encode listener %s: %w", l.Name, err)
		}
		listeners[i] = data
	}
	return map[string]any{"routes": routes, "listeners": listeners, "cut": c.Cut}, nil
}
