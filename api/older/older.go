// Package older reads routes in the form of earlier releases of Gateway API, because a cluster may still have their
// CRDs.
package older

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Resource is the name of the API's resource for objects of this type; "" if no earlier release names their fields
// differently.
func Resource(o runtime.Object) string {
	switch o.(type) {
	case *gwapiv1.HTTPRoute:
		return "httproutes"
	case *gwapiv1.GRPCRoute:
		return "grpcroutes"
	}
	return ""
}

// Read converts a stored object into its Go type. It modifies the stored object.
func Read(stored map[string]any, into runtime.Object) error {
	spec, _ := stored["spec"].(map[string]any)
	rules, _ := spec["rules"].([]any)
	for _, each := range rules {
		rule, _ := each.(map[string]any)
		if session, ok := rule["sessionPersistence"].(map[string]any); ok {
			renameSession(session)
		}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(stored, into); err != nil {
		return fmt.Errorf("reading the object: %w", err)
	}
	return nil
}

// renameSession renames the fields of sessions to their names since v1.7: until v1.6, cookie was named cookieConfig,
// and sessionName stood for cookie.name and header.name.
func renameSession(session map[string]any) {
	if old, ok := session["cookieConfig"]; ok && session["cookie"] == nil {
		session["cookie"] = old
	}
	name, ok := session["sessionName"].(string)
	if !ok || name == "" {
		return
	}
	field := "cookie"
	if session["type"] == string(gwapiv1.HeaderBasedSessionPersistence) {
		field = "header"
	}
	named, ok := session[field].(map[string]any)
	if !ok {
		named = map[string]any{}
		session[field] = named
	}
	if named["name"] == nil {
		named["name"] = name
	}
}
