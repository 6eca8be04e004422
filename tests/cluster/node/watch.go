package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// watch has the node follow what pods refer to.
func (a *agent) watch() error {
	core := a.informers.Core().V1()
	for kind, informer := range map[string]cache.SharedIndexInformer{
		"config maps": core.ConfigMaps().Informer(),
		"secrets":     core.Secrets().Informer(),
		"services":    core.Services().Informer(),
	} {
		_, err := informer.AddEventHandler(handler(a.referredChanged, a.referredChanged))
		if err != nil {
			return fmt.Errorf("watch %s: %w", kind, err)
		}
	}
	return nil
}

// watchPods begins to run pods. It is called when the caches of all else are full, so that nothing seems to be missing.
func (a *agent) watchPods(ctx context.Context) error {
	informer := a.informers.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(handler(
		func(object metav1.Object) {
			if p, ok := object.(*corev1.Pod); ok {
				a.podChanged(ctx, p)
			}
		},
		func(object metav1.Object) { a.podGone(object) },
	))
	if err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	a.informers.Start(ctx.Done())
	return nil
}

// handler makes one function of additions and updates, and unwraps deletions that were missed.
func handler(changed, gone func(metav1.Object)) cache.ResourceEventHandlerFuncs {
	call := func(object any, f func(metav1.Object)) {
		if missed, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = missed.Obj
		}
		if o, ok := object.(metav1.Object); ok {
			f(o)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { call(o, changed) },
		UpdateFunc: func(_, o any) { call(o, changed) },
		DeleteFunc: func(o any) { call(o, gone) },
	}
}

// referredChanged tells the pods of the object's namespace, which look whether it is of interest to them.
func (a *agent) referredChanged(object metav1.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pods {
		if p.namespace == object.GetNamespace() {
			p.poke()
		}
	}
}

func (a *agent) podChanged(ctx context.Context, object *corev1.Pod) {
	if object.Spec.NodeName == "" {
		if object.DeletionTimestamp == nil && len(object.Spec.SchedulingGates) == 0 {
			go a.bind(ctx, object)
		}
		return
	}
	if object.Spec.NodeName != Name {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	if p, ok := a.pods[object.UID]; ok {
		p.set(object)
		return
	}
	if object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed {
		return // It ran to its end under an earlier node; its object is deleted without this one.
	}
	p := newPod(a, object)
	a.pods[object.UID] = p
	p.set(object)
	a.running.Go(p.run)
}

func (a *agent) podGone(object metav1.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.pods[object.GetUID()]
	if !ok {
		return
	}
	delete(a.pods, object.GetUID())
	p.vanish()
	a.running.Go(func() {
		<-p.done
		if err := os.RemoveAll(p.logDir()); err != nil {
			a.Log.Warn("Removing a pod's logs failed", "pod", p.name(), "error", err)
		}
	})
}

func (p *pod) logDir() string { return filepath.Join(p.Dir, "logs", p.id) }

// bind makes the node the pod's own. There is only one: every pod fits, whatever its selectors and affinities say.
func (a *agent) bind(ctx context.Context, object *corev1.Pod) {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: object.Namespace, Name: object.Name, UID: object.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: Name},
	}
	for ctx.Err() == nil {
		// A conflict says that it is bound, by an earlier call, since events of unbound pods can come twice.
		err := ignoreGone(a.client.CoreV1().Pods(object.Namespace).Bind(ctx, binding, metav1.CreateOptions{}))
		if err == nil {
			return
		}
		a.Log.Warn("Binding a pod failed and is tried again", "pod", object.Namespace+"/"+object.Name, "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
