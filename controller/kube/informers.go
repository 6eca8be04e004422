// Package kube brings Kubernetes objects to the translation by informers.
package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/translator"
)

// Kinds are the objects that the translation reads.
func Kinds() []client.Object {
	kinds := []client.Object{
		&gwapiv1.GatewayClass{}, &gwapiv1.Gateway{}, &gwapiv1.ReferenceGrant{},
		&corev1.Namespace{}, &corev1.Service{}, &corev1.Secret{}, &discoveryv1.EndpointSlice{}, &v1alpha1.EnvoyProxy{},
	}
	for _, route := range translator.RouteTypes() {
		kinds = append(kinds, route.(client.Object))
	}
	for _, k := range policies.Kinds {
		kinds = append(kinds, k.New().(client.Object))
	}
	return kinds
}

// Watch sends every change of the objects to put and returns once all that exist have been sent. Every object is the informer's
// own and must not be written to.
func Watch(ctx context.Context, c cache.Cache, put func(...translator.Event)) error {
	var synced []toolscache.InformerSynced
	for _, kind := range Kinds() {
		informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		registration, err := informer.AddEventHandler(handler(put))
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		synced = append(synced, registration.HasSynced)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("wait for the first complete list of objects: %w", ctx.Err())
	}
	return nil
}

func handler(put func(...translator.Event)) toolscache.ResourceEventHandler {
	set := func(o any) {
		if object, ok := o.(translator.Object); ok {
			put(translator.Event{Object: object})
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, now any) { set(now) },
		DeleteFunc: func(o any) {
			if unseen, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = unseen.Obj
			}
			if object, ok := o.(translator.Object); ok {
				put(translator.Event{Object: object, Deleted: true})
			}
		},
	}
}
