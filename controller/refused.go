package controller

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/translator"
)

// The API server validates the whole object when a status is written. It lets pass what the spec violates and what has
// not changed, but not a rule of the CRD that cannot be evaluated, such as one that reads a field that is not there.
// Objects that were stored under another CRD may be like this. Their status cannot be written until somebody changes
// them.

// refusedInterval is how long the status of an object that the API server does not accept is not written. The object
// may be accepted then, by another CRD.
const refusedInterval = 10 * time.Minute

// eventRefused is the reason of Events about such objects.
const eventRefused = "StatusRefused"

// maxEventMessage is the API's limit for the message of an Event, in bytes here.
const maxEventMessage = 1024

// refusesObject reports whether the API server refused to write a status because of the rest of the object.
func refusesObject(err error) bool {
	var refused apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &refused) || refused.Status().Details == nil {
		return false
	}
	causes := refused.Status().Details.Causes
	return len(causes) > 0 && !slices.ContainsFunc(causes, func(c metav1.StatusCause) bool {
		return c.Field == "status" || strings.HasPrefix(c.Field, "status.")
	})
}

// noteRefused reports an object whose status the API server refuses to write: in the log, and to its owner in an Event,
// which is the only place where they can learn of it. Each version of the object is reported once.
func (w *StatusWriter) noteRefused(ctx context.Context, key statusKey, e *entry, o translator.Object, refusal error) {
	kind, version := key.kind.Elem().Name(), o.GetResourceVersion()
	w.writes.WithLabelValues(kind, "refused").Inc()
	w.queue.AddAfter(key, refusedInterval)
	known := e.refused == version
	e.refused, e.refusedAt = version, time.Now()
	if known {
		return
	}
	message := fmt.Sprintf("the status cannot be written, since the API server does not accept the stored object: correct it; %v", refusal)
	w.log.Info(message, "kind", kind, "object", key.name)
	if err := w.client.Create(ctx, w.refusedEvent(o, message)); err != nil && !apierrors.IsAlreadyExists(err) &&
		ctx.Err() == nil {
		w.log.Error(err, "Event not created", "kind", kind, "object", key.name)
	}
}

// refusedEvent is the Event about an object. Its name follows from the object and the message, so that a control plane
// that has started again does not report the same once more.
func (w *StatusWriter) refusedEvent(o translator.Object, message string) *corev1.Event {
	if len(message) > maxEventMessage {
		message = strings.ToValidUTF8(message[:maxEventMessage], "")
	}
	about := corev1.ObjectReference{
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(),
		ResourceVersion: o.GetResourceVersion(),
	}
	if gvk, err := w.client.GroupVersionKindFor(o); err == nil {
		about.APIVersion, about.Kind = gvk.GroupVersion().String(), gvk.Kind
	}
	namespace := o.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault // Kubernetes keeps the Events about objects of the whole cluster there.
	}
	hash := sha256.Sum256([]byte(string(o.GetUID()) + message))
	name := strings.TrimRight(o.GetName()[:min(len(o.GetName()), 200)], ".-")
	now := metav1.Now()
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", name, hash[:8])},
		InvolvedObject: about, Type: corev1.EventTypeWarning, Reason: eventRefused, Message: message,
		Source: corev1.EventSource{Component: "gatehouse"}, ReportingController: "gatehouse.dev/gatehouse",
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
}
