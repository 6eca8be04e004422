package kube

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

// A kind that is served but cannot be watched yet is tried again after firstRetry, and then with growing delays.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Watcher sends every change of the objects that the translation reads. An optional kind is watched while the cluster
// serves it. Its objects appear with its CRD, and are reported as deleted when the CRD is deleted. While the CRD exists
// and does not serve them, they stay.
type Watcher struct {
	Cache cache.Cache
	// Reader reads CRDs, and knows the kinds of the objects. It reads from the API server itself, because the cache has
	// only the names of CRDs.
	Reader client.Client
	// Discovery returns which built-in kinds of Kubernetes the API server serves. It is called every AskAgain; zero
	// means 30 s.
	Discovery Discovery
	AskAgain  time.Duration
	Put       func(...translator.Event)
	// Further are kinds that are watched in addition to those that the translation reads.
	Further []Kind
	Log     logr.Logger

	queue workqueue.TypedRateLimitingInterface[string]
	mu    sync.Mutex
	// optional has the optional kinds by the names of their CRDs.
	optional map[string]*optional
	// compared reports whether the fields of Gateways are known, see compareFields.
	compared bool
}

// optional is the state of an optional kind.
type optional struct {
	kind Kind
	gvk  schema.GroupVersionKind
	// known reports whether it is known if the cluster serves the kind.
	known bool
	// watch is nil while the cluster does not serve the kind.
	watch *watch
}

// Watch returns when all existing objects have been sent. It does not wait for an optional kind that the cluster does
// not serve. It waits for one that the cluster serves, so that no route is served without its policies. The watches
// continue until ctx ends.
func (w *Watcher) Watch(ctx context.Context) error {
	w.optional = map[string]*optional{}
	w.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry,
		lastRetry))
	synced := []toolscache.InformerSynced{w.complete}
	for _, kind := range slices.Concat(Kinds(), w.Further) {
		if kind.Optional {
			if err := w.add(kind); err != nil {
				return err
			}
			continue
		}
		required, err := begin(ctx, w.Cache, kind, w.Put)
		if err != nil {
			return err
		}
		synced = append(synced, required.sent)
	}
	if err := w.followDefinitions(ctx); err != nil {
		return err
	}
	builtIn, err := w.follow(ctx)
	if err != nil {
		return err
	}
	synced = append(synced, builtIn...)
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("wait for the first complete list of objects: %w", ctx.Err())
	}
	return nil
}

func (w *Watcher) add(kind Kind) error {
	gvk, err := w.Reader.GroupVersionKindFor(kind.Object)
	if err != nil {
		return fmt.Errorf("find the kind of %T: %w", kind.Object, err)
	}
	w.optional[DefinitionOf(gvk)] = &optional{kind: kind, gvk: gvk}
	return nil
}

// DefinitionOf is the name of the CRD of a kind, if its plural is formed as in English.
func DefinitionOf(gvk schema.GroupVersionKind) string {
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	return plural.GroupResource().String()
}

// followDefinitions checks every optional kind and the fields of Gateways now, and again whenever their CRDs change.
func (w *Watcher) followDefinitions(ctx context.Context) error {
	informer, err := w.Cache.GetInformer(ctx, definitions(), cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch CRDs: %w", err)
	}
	changed := func(o any) {
		name, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(o)
		if _, known := w.optional[name]; err == nil && known {
			w.queue.Add(name)
		} else if err == nil && name == gatewayDefinition {
			w.queue.AddAfter(name, schemaDelay)
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: changed,
	})
	if err != nil {
		return fmt.Errorf("watch CRDs: %w", err)
	}
	for name := range w.optional {
		w.queue.Add(name)
	}
	w.queue.Add(gatewayDefinition)
	context.AfterFunc(ctx, w.queue.ShutDown)
	go w.work(ctx)
	return nil
}

// definitions returns an object that stands for CRDs and reads only their metadata, because the schemas of a cluster's
// CRDs can be large.
func definitions() *metav1.PartialObjectMetadata {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	return crd
}

func (w *Watcher) work(ctx context.Context) {
	for {
		name, stopped := w.queue.Get()
		if stopped {
			return
		}
		if err := w.look(ctx, name); err != nil && ctx.Err() == nil {
			w.Log.Error(err, "could not watch a kind; trying again", "crd", name)
			w.queue.AddRateLimited(name)
		} else {
			w.queue.Forget(name)
		}
		w.queue.Done(name)
	}
}

// look starts or ends the watch of a kind, depending on whether the cluster serves it. For Gateways it finds out which
// fields they have.
func (w *Watcher) look(ctx context.Context, name string) error {
	if name == gatewayDefinition {
		return w.compareFields(ctx)
	}
	o := w.optional[name]
	now, err := w.serving(ctx, name, o.gvk.Version)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case now == withheld:
		// Known objects stay, so that no route is served without its policies. Unknown objects are waited for.
		w.Log.Info("a kind is not served any more; its objects count as they were, until it is served or its CRD is deleted",
			"crd", name, "version", o.gvk.Version, "known", o.watch != nil)
		return nil
	case now == served && o.watch == nil:
		// This fails until the new kind is in the discovery of the API server.
		if o.watch, err = begin(ctx, w.Cache, o.kind, w.Put); err != nil {
			return err
		}
		if o.known {
			w.Log.Info("a kind has appeared; watching its objects", "crd", name)
		}
	case now == absent && o.watch != nil:
		w.Log.Info("a kind is gone, and its objects with it", "crd", name)
		o.watch.end()
		o.watch = nil
		if err := w.Cache.RemoveInformer(ctx, o.kind.Object); err != nil {
			return fmt.Errorf("stop watching %T: %w", o.kind.Object, err)
		}
	case now == absent && !o.known:
		w.Log.Info("a kind is not installed; its objects are watched once it is", "crd", name, "version", o.gvk.Version)
	}
	o.known = true
	return nil
}

// serving is how the API server serves a kind in the version that is read.
type serving int

const (
	// absent means that there is no CRD, or that it does not have the version, so there are no objects.
	absent serving = iota
	// withheld means that the objects exist but cannot be read now. The version is switched off, or the CRD is not
	// established.
	withheld
	served
)

func (w *Watcher) serving(ctx context.Context, name, version string) (serving, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	err := w.Reader.Get(ctx, client.ObjectKey{Name: name}, crd)
	switch {
	case apierrors.IsNotFound(err):
		return absent, nil
	case err != nil:
		return absent, fmt.Errorf("read CRD %s: %w", name, err)
	}
	i := slices.IndexFunc(crd.Spec.Versions,
		func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == version })
	established := slices.ContainsFunc(crd.Status.Conditions,
		func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
			return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
		})
	switch {
	case i < 0:
		return absent, nil
	case established && crd.Spec.Versions[i].Served:
		return served, nil
	default:
		return withheld, nil
	}
}

// complete reports whether every optional kind has been checked, the objects of the served ones have been sent, and the
// fields of Gateways are known.
func (w *Watcher) complete() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.optional {
		if !o.known || o.watch != nil && !o.watch.sent() {
			return false
		}
	}
	return w.compared
}
