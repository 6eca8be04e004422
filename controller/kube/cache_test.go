package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/policies/envoyproxy"
)

// TestOnlyAuthoritiesAreHeld: of a ConfigMap the cache holds what a reference to CA certificates needs, of a fleet's own everything.
func TestOnlyAuthoritiesAreHeld(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "n", Name: "c", UID: "u", ResourceVersion: "7"}
	foreign := &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"ca.crt": "x", "large": "y"}, BinaryData: map[string][]byte{"large": []byte("z")}}
	foreign.Annotations, foreign.Labels = map[string]string{"a": "large"}, map[string]string{"l": "v"}
	kept, err := onlyAuthorities(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"ca.crt": "x"}}, kept); diff != "" {
		t.Errorf("what is held of a ConfigMap (-want +got):\n%s", diff)
	}
	own := &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"xds.yaml": "x"}}
	own.Labels = envoyproxy.OwnerLabels("n", "g")
	if kept, err := onlyAuthorities(own.DeepCopy()); err != nil || !cmp.Equal(own, kept) {
		t.Errorf("what is held of a fleet's ConfigMap, %v (-want +got):\n%s", err, cmp.Diff(own, kept))
	}
}
