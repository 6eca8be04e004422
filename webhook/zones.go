package webhook

import (
	"context"
	"encoding/json"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/envoyproxy"
)

// Zones tells the pods of Envoys the zone of the node to which they are being bound. The API server copies the
// annotations of a Binding to its pod.
type Zones struct {
	// Reader reads pods and Nodes without a cache.
	Reader client.Reader
	// KeyOf returns the Gateway whose fleet a pod belongs to; false if it belongs to none.
	KeyOf func(pod metav1.Object) (string, bool)
}

// answer admits everything. A pod of others, one that has the label with its zone, and one on a node without a zone stay
// as they are.
func (z *Zones) answer(ctx context.Context, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse,
	error,
) {
	response := &admissionv1.AdmissionResponse{Allowed: true}
	binding := &corev1.Binding{}
	if err := json.Unmarshal(request.Object.Raw, binding); err != nil {
		return nil, unreadError{fmt.Errorf("the object is not a Binding: %w", err)}
	}
	pod, err := z.read(ctx, "Pod", client.ObjectKey{Namespace: request.Namespace, Name: request.Name})
	if err != nil {
		return nil, err
	}
	if _, own := z.KeyOf(pod); !own || pod.Labels[corev1.LabelTopologyZone] != "" {
		return response, nil
	}
	node, err := z.read(ctx, "Node", client.ObjectKey{Name: binding.Target.Name})
	if err != nil {
		return nil, err
	}
	zone := node.Labels[corev1.LabelTopologyZone]
	if zone == "" {
		return response, nil
	}
	mutated, err := fields(request.Object.Raw)
	if err != nil {
		return nil, err
	}
	if err := unstructured.SetNestedField(mutated, zone, "metadata", "annotations", envoyproxy.AnnotationZone); err != nil {
		return nil, fmt.Errorf("annotating the Binding: %w", err)
	}
	return response, setPatch(response, request.Object.Raw, mutated)
}

// read returns the metadata of an object, which is empty if the object does not exist.
func (z *Zones) read(ctx context.Context, kind string, key client.ObjectKey) (*metav1.PartialObjectMetadata, error) {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	if err := client.IgnoreNotFound(z.Reader.Get(ctx, key, object)); err != nil {
		return nil, fmt.Errorf("reading %s %s, for the zone of an Envoy: %w", kind, key, err)
	}
	return object, nil
}
