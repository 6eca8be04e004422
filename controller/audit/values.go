package audit

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/policies/admissionrule"
	"gatehouse/translator"
)

// values are an object as rules see it. The control plane does not keep all fields of its own kinds; such objects are
// read from the API server.
func (a *Auditor) values(ctx context.Context, resource admissionrule.Resource, source translator.Object) (map[string]any, error) {
	if partly(resource.Kind, source) {
		stored := &unstructured.Unstructured{}
		stored.SetGroupVersionKind(resource.GVK())
		if err := a.o.Live.Get(ctx, client.ObjectKey{Namespace: source.GetNamespace(), Name: source.GetName()}, stored); err != nil {
			return nil, fmt.Errorf("read %s %s/%s: %w", resource.Kind, source.GetNamespace(), source.GetName(), err)
		}
		unstructured.RemoveNestedField(stored.Object, "metadata", "managedFields")
		return stored.Object, nil
	}
	return kept(resource, source)
}

// kept are the fields of an object that the control plane keeps. Go types have fields that an object does not have; they
// are null.
func kept(resource admissionrule.Resource, source translator.Object) (map[string]any, error) {
	values, err := runtime.DefaultUnstructuredConverter.ToUnstructured(source)
	if err != nil {
		return nil, fmt.Errorf("read the fields of %s %s/%s: %w", resource.Kind, source.GetNamespace(), source.GetName(), err)
	}
	values["apiVersion"], values["kind"] = resource.GVK().GroupVersion().String(), resource.Kind
	return withoutNulls(values).(map[string]any), nil
}

// partly reports whether the object has fields that are not in its Go type.
func partly(kind string, source translator.Object) bool {
	switch o := source.(type) {
	case *v1alpha1.Backend:
		return len(o.Spec.Unread) > 0
	case *v1alpha1.HTTPRouteFilter:
		return len(o.Spec.Unread) > 0
	case *v1alpha1.EnvoyProxy:
		return true // Its Go type has fields that an object does not have.
	case policies.Object:
		return len(o.GetUnread()) > 0 ||
			slices.ContainsFunc(policies.Kinds, func(k policies.Kind) bool { return k.Kind == kind && k.Unserved })
	}
	return false
}

// withoutNulls removes what is null.
func withoutNulls(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, field := range v {
			if field == nil {
				delete(v, key)
				continue
			}
			v[key] = withoutNulls(field)
		}
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	}
	return value
}
