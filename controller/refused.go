package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/event"
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
	w.tell(ctx, o, eventRefused, message)
}

// tell creates an Event about an object. A control plane that has started again does not report the same once more.
func (w *StatusWriter) tell(ctx context.Context, o client.Object, reason, message string) {
	err := w.client.Create(ctx, w.eventAbout(o, reason, message))
	if err != nil && !apierrors.IsAlreadyExists(err) && ctx.Err() == nil {
		w.log.Error(err, "Event not created", "reason", reason, "object", client.ObjectKeyFromObject(o))
	}
}

func (w *StatusWriter) eventAbout(o client.Object, reason, message string) *corev1.Event {
	about := corev1.ObjectReference{
		Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(),
		ResourceVersion: o.GetResourceVersion(),
	}
	if gvk, err := w.client.GroupVersionKindFor(o); err == nil {
		about.APIVersion, about.Kind = gvk.GroupVersion().String(), gvk.Kind
	}
	return event.Warning(about, reason, message, string(o.GetUID())+message)
}
