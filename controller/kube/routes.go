package kube

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	toolscache "k8s.io/client-go/tools/cache"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/older"
)

// newInformers makes the informers of a cache. Kinds with renamed fields are read in their stored form: the CRDs of the
// cluster may name a field as an earlier release of Gateway API did, and the Go types do not have that name.
func newInformers(source dynamic.Interface) newInformer {
	return func(lw toolscache.ListerWatcher, o runtime.Object, resync time.Duration,
		indexers toolscache.Indexers,
	) toolscache.SharedIndexInformer {
		if name := older.Resource(o); name != "" {
			lw = asStored(source.Resource(schema.GroupVersion(gwapiv1.GroupVersion).WithResource(name)), o)
		}
		return toolscache.NewSharedIndexInformer(lw, o, resync, indexers)
	}
}

type newInformer = func(toolscache.ListerWatcher, runtime.Object, time.Duration,
	toolscache.Indexers) toolscache.SharedIndexInformer

// asStored lists and watches a resource, and converts each object into the Go type of empty.
func asStored(resource dynamic.ResourceInterface, empty runtime.Object) *toolscache.ListWatch {
	return &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			stored, err := resource.List(ctx, options)
			if err != nil {
				return nil, err
			}
			list := &metav1.List{ListMeta: metav1.ListMeta{
				ResourceVersion: stored.GetResourceVersion(), Continue: stored.GetContinue(),
				RemainingItemCount: stored.GetRemainingItemCount(),
			}}
			for i := range stored.Items {
				if object := read(&stored.Items[i], empty); object != nil {
					list.Items = append(list.Items, runtime.RawExtension{Object: object})
				}
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (apiwatch.Interface, error) {
			options.Watch, options.AllowWatchBookmarks = true, true
			events, err := resource.Watch(ctx, options)
			if err != nil {
				return nil, err
			}
			return apiwatch.Filter(events, func(e apiwatch.Event) (apiwatch.Event, bool) {
				if stored, ok := e.Object.(*unstructured.Unstructured); ok {
					e.Object = read(stored, empty)
				}
				return e, e.Object != nil
			}), nil
		},
	}
}

// read returns the object in its Go type. It returns nil if the object does not fit, which the CRDs of no release
// allow. Other objects are served anyway.
func read(stored *unstructured.Unstructured, empty runtime.Object) runtime.Object {
	object := empty.DeepCopyObject()
	if err := older.Read(stored.Object, object); err != nil {
		utilruntime.HandleError(fmt.Errorf("%T %s/%s is left out (%w): install the CRDs of a release of Gateway API", empty,
			stored.GetNamespace(), stored.GetName(), err))
		return nil
	}
	object.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // As for every other cached object.
	return object
}
