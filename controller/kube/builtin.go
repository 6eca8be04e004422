package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/translator"
)

// A built-in kind of Kubernetes appears or disappears only when an API server is started with other settings or in
// another version. No object shows this. So the API server is asked every askAgain. Several API servers may be replaced
// one after the other, so a kind counts as gone only when it was missing misses times in a row.
const (
	askAgain = 30 * time.Second
	misses   = 4
)

// Discovery returns the resources that an API server serves in a version of a group. The error is NotFound if it does
// not serve the version.
type Discovery interface {
	ServerResourcesForGroupVersionWithContext(ctx context.Context, groupVersion string) (*metav1.APIResourceList, error)
}

// builtIn is a built-in kind of Kubernetes that not every cluster serves. Everything except its name belongs to the
// goroutine that asks for it.
type builtIn struct {
	name schema.GroupKind
	// versions are empty objects of the kind. The first served version is watched as long as it is served.
	versions []client.Object
	// watch is the watch of version at, nil while the kind is not served.
	watch *watch
	at    int
	// missing is how many times in a row the kind was not served.
	missing int
}

// builtIns returns the built-in kinds of Kubernetes that not every cluster serves. ClusterTrustBundle is served as v1
// from 1.37 on, and before as v1beta1 if a feature gate and the version are switched on.
func builtIns() []*builtIn {
	return []*builtIn{{
		name:     translator.ClusterTrustBundles,
		versions: []client.Object{&certificatesv1.ClusterTrustBundle{}, &certificatesv1beta1.ClusterTrustBundle{}},
	}}
}

// follow starts to watch the built-in kinds, and asks for them until ctx ends. It returns when the objects of each
// served kind are known.
func (w *Watcher) follow(ctx context.Context) ([]toolscache.InformerSynced, error) {
	var synced []toolscache.InformerSynced
	for _, b := range builtIns() {
		for err := w.ask(ctx, b); err != nil; err = w.ask(ctx, b) {
			w.Log.Error(err, "could not find out whether a kind is served; trying again", "kind", b.name.String())
			if !pause(ctx, lastRetry) {
				return nil, fmt.Errorf("find out whether %s is served: %w", b.name, ctx.Err())
			}
		}
		if b.watch != nil {
			synced = append(synced, b.watch.sent)
		} else {
			w.Log.Info("a kind is not served; its objects are watched once it is", "kind", b.name.String())
		}
		go func() {
			for pause(ctx, w.every()) {
				if err := w.ask(ctx, b); err != nil && ctx.Err() == nil {
					w.Log.Error(err, "could not find out whether a kind is served; trying again", "kind", b.name.String())
				}
			}
		}()
	}
	return synced, nil
}

func (w *Watcher) every() time.Duration {
	if w.AskAgain > 0 {
		return w.AskAgain
	}
	return askAgain
}

// pause waits for d. It returns false if ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// ask finds out how the kind is served, and watches it in that version.
func (w *Watcher) ask(ctx context.Context, b *builtIn) error {
	at, err := w.versionOf(ctx, b)
	if err != nil {
		return err
	}
	if at < 0 {
		if b.missing++; b.watch != nil && b.missing >= misses {
			return w.leave(ctx, b)
		}
		return nil
	}
	b.missing = 0
	if b.watch != nil && b.at == at {
		return nil
	}
	next, err := begin(ctx, w.Cache, Kind{Object: b.versions[at], Optional: true}, w.Put)
	if err != nil {
		return err
	}
	if b.watch != nil {
		if !toolscache.WaitForCacheSync(ctx.Done(), next.sent) {
			return fmt.Errorf("wait for the objects of another version: %w", ctx.Err())
		}
		b.watch.yield(next)
		if err := w.Cache.RemoveInformer(ctx, b.versions[b.at]); err != nil {
			return fmt.Errorf("stop watching %T: %w", b.versions[b.at], err)
		}
	}
	b.watch, b.at = next, at
	w.Put(translator.Event{Served: &b.name})
	w.Log.Info("watching a kind that not every cluster serves", "kind", b.name.String(), "version",
		fmt.Sprintf("%T", b.versions[at]))
	return nil
}

// leave ends the watch of a kind that is no longer served.
func (w *Watcher) leave(ctx context.Context, b *builtIn) error {
	w.Log.Info("a kind is not served any more, and its objects are gone with it", "kind", b.name.String())
	w.Put(translator.Event{Served: &b.name, Deleted: true})
	b.watch.end()
	b.watch = nil
	if err := w.Cache.RemoveInformer(ctx, b.versions[b.at]); err != nil {
		return fmt.Errorf("stop watching %T: %w", b.versions[b.at], err)
	}
	return nil
}

// versionOf returns the index of the version to watch: the version that is watched already if the API server serves it,
// otherwise the first one that it serves. It is negative if the API server serves none.
func (w *Watcher) versionOf(ctx context.Context, b *builtIn) (int, error) {
	if b.watch != nil {
		if is, err := w.serves(ctx, b.versions[b.at]); is || err != nil {
			return b.at, err
		}
	}
	for i := range b.versions {
		if is, err := w.serves(ctx, b.versions[i]); is || err != nil {
			return i, err
		}
	}
	return -1, nil
}

func (w *Watcher) serves(ctx context.Context, o client.Object) (bool, error) {
	gvk, err := w.Reader.GroupVersionKindFor(o)
	if err != nil {
		return false, fmt.Errorf("find the kind of %T: %w", o, err)
	}
	kinds, err := Served(ctx, w.Discovery, gvk.GroupVersion())
	return slices.Contains(kinds, gvk.Kind), err
}

// Served are the kinds that the API server serves in a version of a group.
func Served(ctx context.Context, from Discovery, version schema.GroupVersion) (kinds []string, _ error) {
	list, err := from.ServerResourcesForGroupVersionWithContext(ctx, version.String())
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask what is served of %s: %w", version, err)
	}
	for i := range list.APIResources {
		if !strings.Contains(list.APIResources[i].Name, "/") { // Otherwise it is a subresource.
			kinds = append(kinds, list.APIResources[i].Kind)
		}
	}
	return kinds, nil
}
