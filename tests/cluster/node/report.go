package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// reporter writes a pod's status, always the newest and never two at a time.
type reporter struct {
	pod     *pod
	dirty   chan struct{}
	closing chan struct{}
	ended   chan struct{}
	last    corev1.PodStatus
}

func newReporter(p *pod) *reporter {
	r := &reporter{pod: p, dirty: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{})}
	r.last.Conditions = p.object.Status.Conditions
	go r.loop()
	return r
}

// wake has the status written soon, if it has changed.
func (r *reporter) wake() {
	select {
	case r.dirty <- struct{}{}:
	default: // It will be written anyway.
	}
}

// close writes the last status and waits for it.
func (r *reporter) close() {
	close(r.closing)
	<-r.ended
}

func (r *reporter) loop() {
	defer close(r.ended)
	for {
		select {
		case <-r.dirty:
			r.write()
		case <-r.closing:
			r.write()
			return
		}
	}
}

// write writes the status until it has succeeded or nobody wants it any more.
func (r *reporter) write() {
	for r.pod.gone.Err() == nil {
		status := r.pod.status(r.last.Conditions)
		if equality.Semantic.DeepEqual(status, r.last) {
			return
		}
		err := r.patch(&status)
		switch {
		case err == nil:
			r.last = status
			return
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			return // The object is gone, or is another one of the same name, as the informer will say.
		case !errors.Is(err, context.Canceled):
			r.pod.Log.Warn("Writing a pod's status failed and is tried again", "pod", r.pod.name(), "error", err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-r.pod.gone.Done():
		}
	}
}

// patch replaces the status by a JSON merge patch: a strategic one would merge podIPs, and addresses may not be added.
func (r *reporter) patch(status *corev1.PodStatus) error {
	object := r.pod.current()
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": object.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	_, err = r.pod.client.CoreV1().Pods(object.Namespace).Patch(r.pod.gone, object.Name, types.MergePatchType, body,
		metav1.PatchOptions{}, "status")
	return err
}

// status computes the pod's status as it is now.
func (p *pod) status(before []corev1.PodCondition) corev1.PodStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return statusOf(p.object, &p.facts, before, metav1.Now())
}
