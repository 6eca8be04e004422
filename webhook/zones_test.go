package webhook

import (
	"context"
	"testing"
	"time"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/envoyproxy"
)

// TestZones binds pods to nodes of a real API server that does not copy zones itself.
func TestZones(t *testing.T) {
	c := realCluster(t)
	s := serve(t, Options{
		Trier: says(),
		Zones: &Zones{Reader: c.client, KeyOf: func(pod metav1.Object) (string, bool) { return envoyproxy.KeyOf(pod) }},
	})
	url, none, ignore := "https://"+s.address+ZonePath, admissionregv1.SideEffectClassNone, admissionregv1.Ignore
	c.create(t, &admissionregv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "zones"},
		Webhooks: []admissionregv1.MutatingWebhook{{
			Name: "zones.gatehouse.dev", ClientConfig: admissionregv1.WebhookClientConfig{URL: &url, CABundle: s.ca},
			Rules: []admissionregv1.RuleWithOperations{{
				Operations: []admissionregv1.OperationType{admissionregv1.Create},
				Rule:       admissionregv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/binding"}},
			}},
			FailurePolicy: &ignore, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		}},
	})
	zoned := map[string]string{corev1.LabelTopologyZone: "zone-a"}
	c.create(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "zoned", Labels: zoned}})
	c.create(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "unzoned"}})

	own := envoyproxy.OwnerLabels("default", "eg")
	labelled := envoyproxy.OwnerLabels("default", "eg")
	labelled[corev1.LabelTopologyZone] = "zone-b"
	started := time.Now()
	for c.bind(t, "probe", own, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "zoned"}}) == "" {
		if time.Since(started) > 30*time.Second {
			t.Fatal("the API server does not ask the webhook")
		}
	}
	for name, test := range map[string]struct {
		labels      map[string]string
		annotations map[string]string
		node, want  string
	}{
		"an-envoy":                   {own, nil, "zoned", "zone-a"},
		"a-binding-with-annotations": {own, map[string]string{"example.com/bound-by": "a-scheduler"}, "zoned", "zone-a"},
		"a-node-without-a-zone":      {own, nil, "unzoned", ""},
		"a-node-that-is-gone":        {own, nil, "gone", ""},
		"a-pod-of-others":            {map[string]string{"app": "shop"}, nil, "zoned", ""},
		"a-pod-with-the-label":       {labelled, nil, "zoned", ""},
	} {
		t.Run(name, func(t *testing.T) {
			binding := &corev1.Binding{
				ObjectMeta: metav1.ObjectMeta{Annotations: test.annotations},
				Target:     corev1.ObjectReference{Kind: "Node", Name: test.node},
			}
			if got := c.bind(t, name, test.labels, binding); got != test.want {
				t.Errorf("got zone %q, want %q", got, test.want)
			}
		})
	}
	t.Run("nobody answers", func(t *testing.T) {
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		target := corev1.ObjectReference{Kind: "Node", Name: "zoned"}
		if got := c.bind(t, "unanswered", own, &corev1.Binding{Target: target}); got != "" {
			t.Errorf("got zone %q", got)
		}
	})
}

// bind creates a pod and binds it to a node, and returns the zone that the pod is told. Other annotations of the binding
// must be on the pod too.
func (c *cluster) bind(t *testing.T, name string, labels map[string]string, binding *corev1.Binding) string {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: name + "-", Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "envoy", Image: "envoy"}}},
	}
	if err := c.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	now := client.GracePeriodSeconds(0) // No kubelet would end it.
	t.Cleanup(func() { _ = c.client.Delete(context.Background(), pod, now) })
	if err := c.client.SubResource("binding").Create(t.Context(), pod, binding.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if err := c.client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		t.Fatal(err)
	}
	for key, value := range binding.Annotations {
		if pod.Annotations[key] != value {
			t.Errorf("annotation %s of the binding is %q on the pod", key, pod.Annotations[key])
		}
	}
	if pod.Spec.NodeName != binding.Target.Name {
		t.Errorf("the pod is bound to %q, want %q", pod.Spec.NodeName, binding.Target.Name)
	}
	return pod.Annotations[envoyproxy.AnnotationZone]
}
