package infra

import (
	"testing"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/v1alpha1"
	"gatehouse/translator"
)

// scaled requests replicas of the fleet shop/web with the subresource that autoscalers and kubectl scale use.
func (f *fixture) scaled(t *testing.T, replicas int32) {
	t.Helper()
	deployment := &appsv1.Deployment{}
	deployment.Namespace, deployment.Name = f.settings.ControllerNamespace, Name("shop", "web")
	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	if err := f.SubResource("scale").Update(t.Context(), deployment, client.WithSubResourceBody(scale),
		client.FieldOwner("autoscaler")); err != nil {
		t.Fatal(err)
	}
}

// expectReplicas updates the fleet with a control plane that has just started, with a client that reads from caches.
func (f *fixture) expectReplicas(t *testing.T, c client.Client, req *translator.Requirement, want int32) {
	t.Helper()
	a := New(c, f.settings, logr.Discard())
	a.Set("shop/web", req)
	if err := a.Reconcile(t.Context(), "shop/web"); err != nil {
		t.Fatal(err)
	}
	deployment := &appsv1.Deployment{}
	if err := f.Get(t.Context(), client.ObjectKey{Namespace: f.settings.ControllerNamespace, Name: Name("shop", "web")},
		deployment); err != nil {
		t.Fatal(err)
	}
	if got := or(deployment.Spec.Replicas, 0); got != want {
		t.Errorf("the fleet has %d replicas, want %d", got, want)
	}
}

func withReplicas(replicas int32) *translator.Requirement {
	return withProvider(requirement("web"), v1alpha1.EnvoyProxyKubernetesProvider{
		EnvoyDeployment: &v1alpha1.KubernetesDeploymentSpec{Replicas: &replicas},
	})
}

// TestReplicasAreLeftToTheAutoscaler: without a number in the EnvoyProxy, autoscalers and users decide, also after
// repairs and changes of the fleet. A number in the EnvoyProxy applies. When it is removed, it stays until somebody
// else sets another one.
func TestReplicasAreLeftToTheAutoscaler(t *testing.T) {
	f := newFixture(t)
	cached := f.cached(t)
	f.expectReplicas(t, cached, requirement("web"), 1)
	f.scaled(t, 5)
	f.expectReplicas(t, cached, requirement("web"), 5)
	f.settings.EnvoyImage = "another"
	f.expectReplicas(t, cached, requirement("web"), 5)

	f.expectReplicas(t, cached, withReplicas(3), 3)
	f.scaled(t, 7)
	f.expectReplicas(t, cached, withReplicas(3), 3)
	f.expectReplicas(t, cached, requirement("web"), 3)
	f.expectReplicas(t, cached, requirement("web"), 3)
	f.scaled(t, 2)
	f.settings.EnvoyImage = "yet another"
	f.expectReplicas(t, cached, requirement("web"), 2)
	f.expectReplicas(t, cached, withReplicas(4), 4)
}
