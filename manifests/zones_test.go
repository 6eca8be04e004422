package manifests

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const zonesWebhook = "zones.gatehouse.dev"

// zones returns the webhook that tells Envoys their zone, if there is one, and the kinds of roles by which the control
// plane may read pods.
func zones(t *testing.T, values ...string) (hook *admissionv1.MutatingWebhook, roles []string) {
	t.Helper()
	for _, obj := range decode(t, helmTemplate(t, "gatehouse", values...)) {
		switch obj := obj.(type) {
		case *admissionv1.MutatingWebhookConfiguration:
			for i := range obj.Webhooks {
				if obj.Webhooks[i].Name == zonesWebhook {
					hook = &obj.Webhooks[i]
				}
			}
		case *rbacv1.Role:
			if grants(obj.Rules, "pods", "get") {
				roles = append(roles, "Role")
			}
		case *rbacv1.ClusterRole:
			if grants(obj.Rules, "pods", "get") {
				roles = append(roles, "ClusterRole")
			}
		}
	}
	return hook, roles
}

// TestZonesOfEnvoys: the webhook sees the pods of the namespaces where Envoys run, fails open, and can be switched off;
// the control plane may read pods only for it.
func TestZonesOfEnvoys(t *testing.T) {
	const beside = "--set=config.envoyGateway.provider.kubernetes.deploy.type=GatewayNamespace"
	for name, test := range map[string]struct {
		values   []string
		operator metav1.LabelSelectorOperator
		spaces   []string
		roles    []string
	}{
		"beside the control plane": {nil, metav1.LabelSelectorOpIn, []string{"gatehouse-system"}, []string{"Role"}},
		"beside Gateways":          {[]string{beside}, metav1.LabelSelectorOpNotIn, []string{"kube-system"}, []string{"ClusterRole"}},
		"off in the chart":         {values: []string{"--set=topologyInjector.enabled=false"}},
		"off in the configuration": {
			values: []string{"--set=config.envoyGateway.provider.kubernetes.proxyTopologyInjector.disabled=true"},
		},
		"without admission": {values: []string{"--set=admission.enabled=false"}},
	} {
		hook, roles := zones(t, test.values...)
		if diff := cmp.Diff(test.roles, roles); diff != "" {
			t.Errorf("%s: roles that may read pods: %s", name, diff)
		}
		if (hook != nil) != (test.spaces != nil) {
			t.Errorf("%s: there is a webhook: %t", name, hook != nil)
		}
		if hook == nil {
			continue
		}
		if len(hook.NamespaceSelector.MatchExpressions) != 1 || *hook.FailurePolicy != admissionv1.Ignore || *hook.SideEffects != admissionv1.SideEffectClassNone {
			t.Fatalf("%s: %v", name, hook)
		}
		want := metav1.LabelSelectorRequirement{Key: "kubernetes.io/metadata.name", Operator: test.operator, Values: test.spaces}
		if diff := cmp.Diff(want, hook.NamespaceSelector.MatchExpressions[0]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestZonesThatKubernetesCopies: the API server of a Kubernetes that copies zones itself does not ask the webhook. Nobody
// answers here, and the webhook fails closed, so a pod is bound only if nobody is asked.
func TestZonesThatKubernetesCopies(t *testing.T) {
	c := server.Client(t)
	hook, _ := zones(t)
	hook.FailurePolicy = new(admissionv1.Fail)
	config := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "zones"}, Webhooks: []admissionv1.MutatingWebhook{*hook},
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "gatehouse-system"}}
	if err := c.Create(t.Context(), namespace); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "default"}}
	if err := c.Create(t.Context(), account); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	zoned := map[string]string{corev1.LabelTopologyZone: "zone-a"}
	for _, o := range []client.Object{
		config, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "zoned", Labels: zoned}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "unzoned"}},
	} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		deleteAfter(t, c, o)
	}
	bind := func(node string) (*corev1.Pod, error) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, GenerateName: "envoy-"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "envoy", Image: "envoy"}}},
		}
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}}
		if err := c.SubResource("binding").Create(t.Context(), pod, binding); err != nil {
			return nil, err
		}
		return pod, c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod)
	}
	var err error
	for i := 0; i < 100 && err == nil; i++ { // The API server hears of its webhooks after a moment.
		time.Sleep(100 * time.Millisecond)
		_, err = bind("unzoned")
	}
	if err == nil || !strings.Contains(err.Error(), zonesWebhook) {
		t.Fatalf("the webhook is not asked about a node without a zone: %v", err)
	}
	pod, err := bind("zoned")
	if err != nil {
		t.Fatalf("the webhook is asked although Kubernetes copies the zone: %v", err)
	}
	if zone := pod.Labels[corev1.LabelTopologyZone]; zone != "zone-a" {
		t.Errorf("Kubernetes has copied zone %q", zone)
	}
}
