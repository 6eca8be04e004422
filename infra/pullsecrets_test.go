package infra

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/config"
	"gatehouse/api/v1alpha1"
	"gatehouse/translator"
)

// TestPullSecrets: Envoy images are pulled with the control plane's Secrets, which exist only in its namespace, unless
// their EnvoyProxy names others.
func TestPullSecrets(t *testing.T) {
	secrets := func(names ...string) (refs []corev1.LocalObjectReference) {
		for _, name := range names {
			refs = append(refs, corev1.LocalObjectReference{Name: name})
		}
		return refs
	}
	for name, tc := range map[string]struct {
		mode        config.DeployType
		given, want []corev1.LocalObjectReference
	}{
		"none given":          {want: secrets("own")},
		"given":               {given: secrets("mirror"), want: secrets("mirror")},
		"beside the Gateway":  {mode: config.DeployGatewayNamespace},
		"given there as well": {mode: config.DeployGatewayNamespace, given: secrets("mirror"), want: secrets("mirror")},
	} {
		t.Run(name, func(t *testing.T) {
			s := testSettings()
			s.PullSecrets, s.DeployMode = secrets("own"), tc.mode
			proxy := &v1alpha1.EnvoyProxy{}
			proxy.Spec.Provider = &v1alpha1.EnvoyProxyProvider{
				Type: v1alpha1.EnvoyProxyProviderTypeKubernetes,
				Kubernetes: &v1alpha1.EnvoyProxyKubernetesProvider{
					EnvoyDeployment: &v1alpha1.KubernetesDeploymentSpec{Pod: &v1alpha1.KubernetesPodSpec{ImagePullSecrets: tc.given}},
				},
			}
			objects, err := Desired(translator.Requirement{
				Gateway: &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}, EnvoyProxy: proxy,
			}, s)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				if d, ok := o.(*appsv1.Deployment); ok {
					if diff := cmp.Diff(tc.want, d.Spec.Template.Spec.ImagePullSecrets); diff != "" {
						t.Errorf("imagePullSecrets (-want +got):\n%s", diff)
					}
					return
				}
			}
			t.Error("no Deployment")
		})
	}
}

// TestSidecarIsPulledLikeTheControlPlane: it is the same image, and a cluster without a registry may need to disable
// pulling it.
func TestSidecarIsPulledLikeTheControlPlane(t *testing.T) {
	s := testSettings()
	s.GatehousePullPolicy = corev1.PullNever
	objects, err := Desired(*requirement("web"), s)
	if err != nil {
		t.Fatal(err)
	}
	containers := objects[2].(*appsv1.Deployment).Spec.Template.Spec.Containers
	if envoy, sidecar := containers[0].ImagePullPolicy, containers[1].ImagePullPolicy; envoy != "" ||
		sidecar != corev1.PullNever {
		t.Errorf("Envoy is pulled %q and the sidecar %q", envoy, sidecar)
	}
}
