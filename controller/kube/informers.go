// Package kube feeds Kubernetes objects to the translation through informers.
package kube

import (
	"context"
	"fmt"
	"sync"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapixv1alpha1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
	"gatehouse/translator"
)

// Kind is a kind that the translation reads.
type Kind struct {
	// Object is an empty object of the kind.
	Object client.Object
	// Optional reports whether the cluster may not have the kind's CRD, or get and lose it while the control plane
	// runs.
	Optional bool
}

// Kinds returns the kinds that the translation reads.
func Kinds() []Kind {
	kinds := []Kind{
		{Object: &gwapiv1.GatewayClass{}},
		{Object: &gwapiv1.Gateway{}},
		{Object: &gwapiv1.ListenerSet{}, Optional: true},
		{Object: &gwapiv1.ReferenceGrant{}},
		{Object: &gwapiv1.BackendTLSPolicy{}, Optional: true},
		{Object: &gwapixv1alpha1.XBackendTrafficPolicy{}, Optional: true},
		{Object: &corev1.Namespace{}},
		{Object: &corev1.Service{}},
		{Object: &corev1.Secret{}},
		{Object: &corev1.ConfigMap{}},
		{Object: &discoveryv1.EndpointSlice{}},
		{Object: &mcsv1alpha1.ServiceImport{}, Optional: true},
		{Object: &v1alpha1.EnvoyProxy{}, Optional: true},
		{Object: &v1alpha1.Backend{}, Optional: true},
		{Object: &v1alpha1.HTTPRouteFilter{}, Optional: true},
		{Object: &cmv1.Certificate{}, Optional: true},
		{Object: &cmv1.CertificateRequest{}, Optional: true},
		{Object: &cmv1.Issuer{}, Optional: true},
		{Object: &cmv1.ClusterIssuer{}, Optional: true},
		{Object: &acmev1.Order{}, Optional: true},
		{Object: &acmev1.Challenge{}, Optional: true},
	}
	for _, route := range translator.RouteTypes() {
		kinds = append(kinds, Kind{Object: route.(client.Object), Optional: true})
	}
	for _, k := range policies.Kinds {
		kinds = append(kinds, Kind{Object: k.New().(client.Object), Optional: true})
	}
	return kinds
}

// RuleKinds returns the kinds of rules of the platform. The translation does not read them.
func RuleKinds() []Kind {
	return []Kind{
		{Object: &rulesv1alpha1.AdmissionRule{}, Optional: true},
		{Object: &rulesv1alpha1.AdmissionException{}, Optional: true},
	}
}

// watch sends every change of the objects of one kind until it is ended.
type watch struct {
	put func(...translator.Event)

	mu sync.Mutex
	// objects are the existing objects. They are kept only if the watch may be ended.
	objects map[client.ObjectKey]translator.Object
	ended   bool
	// sent reports whether all objects that existed at the start have been sent.
	sent toolscache.InformerSynced
}

// begin starts a watch without waiting. The objects that are put belong to the informer and must not be modified.
func begin(ctx context.Context, c cache.Cache, kind Kind, put func(...translator.Event)) (*watch, error) {
	w := &watch{put: put}
	if kind.Optional {
		w.objects = map[client.ObjectKey]translator.Object{}
	}
	informer, err := c.GetInformer(ctx, kind.Object, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", kind.Object, err)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { w.changed(o, false) },
		UpdateFunc: func(_, o any) { w.changed(o, false) },
		DeleteFunc: func(o any) {
			if unseen, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = unseen.Obj
			}
			w.changed(o, true)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", kind.Object, err)
	}
	w.sent = registration.HasSynced
	return w, nil
}

func (w *watch) changed(o any, deleted bool) {
	object, ok := o.(translator.Object)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := client.ObjectKey{Namespace: object.GetNamespace(), Name: object.GetName()}
	switch {
	case w.ended:
		return // It has already been reported as deleted.
	case w.objects == nil:
	case deleted:
		delete(w.objects, key)
	default:
		w.objects[key] = object
	}
	w.put(translator.Event{Object: object, Deleted: deleted})
}

// yield ends the watch in favour of a watch of the same objects in another version: objects that the new one knows are
// not reported as deleted.
func (w *watch) yield(to *watch) {
	to.mu.Lock()
	defer to.mu.Unlock()
	w.endBut(to.objects)
}

// end reports all objects as deleted. Nothing is sent afterwards.
func (w *watch) end() { w.endBut(nil) }

func (w *watch) endBut(known map[client.ObjectKey]translator.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for key, object := range w.objects {
		if _, still := known[key]; !still {
			w.put(translator.Event{Object: object, Deleted: true})
		}
	}
	w.objects = nil
}
