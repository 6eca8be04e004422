package controller

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator"
)

// tellOfCertificates creates an Event for each condition about the certificates of a listener that has turned False, or is
// False for another reason now.
func (w *StatusWriter) tellOfCertificates(ctx context.Context, before, now client.Object) {
	had := listenersOf(before)
	for _, l := range listenersOf(now) {
		at := slices.IndexFunc(had, func(old gwapiv1.ListenerStatus) bool { return old.Name == l.Name })
		var old []metav1.Condition
		if at >= 0 {
			old = had[at].Conditions
		}
		for _, c := range l.Conditions {
			if c.Status != metav1.ConditionFalse || !translator.AboutCertificates(c) {
				continue
			}
			was := meta.FindStatusCondition(old, c.Type)
			known := was != nil && was.Status == c.Status && was.Reason == c.Reason
			// Whoever has just added the listener knows that its Secret is still to come.
			awaited := was == nil && c.Type == string(gwapiv1.ListenerConditionResolvedRefs)
			if !known && !awaited {
				w.tell(ctx, now, c.Reason, fmt.Sprintf("listener %s: %s", l.Name, c.Message))
			}
		}
	}
}

// listenersOf are the statuses of the listeners of a Gateway or of a ListenerSet; other objects have none.
func listenersOf(o client.Object) []gwapiv1.ListenerStatus {
	switch o := o.(type) {
	case *gwapiv1.Gateway:
		return o.Status.Listeners
	case *gwapiv1.ListenerSet:
		listeners := make([]gwapiv1.ListenerStatus, len(o.Status.Listeners))
		for i, l := range o.Status.Listeners {
			listeners[i] = gwapiv1.ListenerStatus(l)
		}
		return listeners
	}
	return nil
}
