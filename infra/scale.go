package infra

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scaleManager is the field manager that owns the number of replicas when no EnvoyProxy sets it any more.
const scaleManager = FieldManager + "-scale"

// letScale leaves the number of a Deployment's replicas to others, if none is desired and the Keeper set it until now.
// The API server removes a field when its last owner gives it up, and a Deployment without a number has one replica. So
// the current number is first handed to another field manager. An autoscaler can take it from that one as from anybody.
func (a *Keeper) letScale(ctx context.Context, desired client.Object) error {
	if wanted, ok := desired.(*appsv1.Deployment); !ok || wanted.Spec.Replicas != nil {
		return nil
	}
	live, err := a.live(ctx, nameOf(desired)) // The cache does not have the owners of fields.
	if err != nil || live == nil || !ownsReplicas(live.GetManagedFields()) {
		return err
	}
	replicas, found, err := unstructured.NestedInt64(live.(*unstructured.Unstructured).Object, "spec", "replicas")
	if err != nil || !found {
		return err
	}
	handed := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": appsv1.SchemeGroupVersion.String(),
		"kind":       "Deployment",
		// If the object has changed since, nothing is handed over.
		"metadata": map[string]any{
			"name": live.GetName(), "namespace": live.GetNamespace(),
			"resourceVersion": live.GetResourceVersion(),
		},
		"spec": map[string]any{"replicas": replicas},
	}}
	if err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(handed), client.FieldOwner(scaleManager),
		client.ForceOwnership); err != nil {
		return fmt.Errorf("leaving the replicas of %s to others: %w", nameOf(desired), err)
	}
	return nil
}

// ownsReplicas reports whether the Keeper owns the number of replicas. An unreadable entry owns nothing.
func ownsReplicas(entries []metav1.ManagedFieldsEntry) bool {
	for _, entry := range entries {
		if entry.Manager != FieldManager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.FieldsV1 == nil {
			continue
		}
		var owned struct {
			Spec struct {
				Replicas json.RawMessage `json:"f:replicas"`
			} `json:"f:spec"`
		}
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned); err == nil && owned.Spec.Replicas != nil {
			return true
		}
	}
	return false
}
