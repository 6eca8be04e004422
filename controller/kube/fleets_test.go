package kube

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// TestNoReportOfNoFleet: once the objects of a Gateway are gone, nothing is remembered of its fleet.
func TestNoReportOfNoFleet(t *testing.T) {
	s := newSeen(t)
	var last translator.Event
	fleets := &Fleets{
		Reader: s.Client, Changed: func(string) {},
		KeyOf: func(metav1.Object) (string, bool) { return "default/gone", true },
		Put:   func(events ...translator.Event) { last = events[len(events)-1] },
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", GenerateName: "fleet-",
			Labels: envoyproxy.OwnerLabels("default", "gone"),
		},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if err := s.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	fleets.event(t.Context(), service)
	if last.Deleted || len(last.Fleet.Fleet.Addresses) != 1 {
		t.Errorf("of a fleet with a Service: deleted %t, %+v", last.Deleted, last.Fleet)
	}
	if err := s.Delete(context.Background(), service); err != nil {
		t.Fatal(err)
	}
	fleets.Failed(t.Context(), "default/gone", "the name is taken")
	if last.Deleted || last.Fleet.Fleet.Failure == "" {
		t.Errorf("of a fleet that cannot be made: deleted %t, %+v", last.Deleted, last.Fleet)
	}
	fleets.Failed(t.Context(), "default/gone", "")
	if !last.Deleted || last.Fleet.Key != "default/gone" {
		t.Errorf("of a fleet without objects: deleted %t, %+v", last.Deleted, last.Fleet)
	}
}
