package webhook

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/verdict"
)

// Exists reports whether an object is stored at this moment.
type Exists func(context.Context, verdict.Ref) (bool, error)

// Live asks the API server itself, without caches, and reads only an object's metadata.
func Live(reader client.Reader, mapper meta.RESTMapper) Exists {
	return func(ctx context.Context, ref verdict.Ref) (bool, error) {
		mapping, err := mapper.RESTMapping(schema.GroupKind{Group: ref.Group, Kind: ref.Kind})
		if meta.IsNoMatchError(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("finding the resource of kind %s: %w", ref.Kind, err)
		}
		object := &metav1.PartialObjectMetadata{}
		object.SetGroupVersionKind(mapping.GroupVersionKind)
		err = reader.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, object)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading %s: %w", ref, err)
		}
		return true, nil
	}
}
