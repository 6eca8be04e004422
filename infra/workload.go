package infra

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/bootstrap"
	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// workload runs the Envoys: a DaemonSet if the EnvoyProxy asks for one, otherwise a Deployment.
func (f *fleetPlan) workload() (client.Object, error) {
	if f.kubernetes.EnvoyDaemonSet != nil {
		return f.daemonSet(f.kubernetes.EnvoyDaemonSet)
	}
	given := f.kubernetes.EnvoyDeployment
	if given == nil {
		given = &v1alpha1.KubernetesDeploymentSpec{}
	}
	return f.deployment(given)
}

func (f *fleetPlan) deployment(given *v1alpha1.KubernetesDeploymentSpec) (client.Object, error) {
	template, err := f.pods(given.Pod, given.Container, given.InitContainers)
	if err != nil {
		return nil, err
	}
	deployment := appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: f.meta(or(given.Name, f.name), nil, nil),
		Spec: appsv1.DeploymentSpec{
			Replicas: given.Replicas, // Otherwise others scale it, such as an autoscaler; Kubernetes starts with 1.
			Strategy: or(given.Strategy, appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType}),
			Selector: &metav1.LabelSelector{MatchLabels: f.ownerLabels()},
			Template: template,
		},
	}
	patched, err := envoyproxy.Patch(deployment, given.Patch)
	if err != nil {
		return nil, fmt.Errorf("patching the Deployment of Gateway %s: %w", f.key, err)
	}
	return &patched, nil
}

func (f *fleetPlan) daemonSet(given *v1alpha1.KubernetesDaemonSetSpec) (client.Object, error) {
	template, err := f.pods(given.Pod, given.Container, nil)
	if err != nil {
		return nil, err
	}
	set := appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: f.meta(or(given.Name, f.name), nil, nil),
		Spec: appsv1.DaemonSetSpec{
			UpdateStrategy: or(given.Strategy, appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType}),
			Selector:       &metav1.LabelSelector{MatchLabels: f.ownerLabels()},
			Template:       template,
		},
	}
	patched, err := envoyproxy.Patch(set, given.Patch)
	if err != nil {
		return nil, fmt.Errorf("patching the DaemonSet of Gateway %s: %w", f.key, err)
	}
	return &patched, nil
}

// The mount paths of the volumes of every pod.
const (
	configDir = "/etc/gatehouse/xds"
	tokenDir  = "/var/run/secrets/gatehouse.dev/xds"
	tokenFile = "token"
	tempDir   = "/tmp"
)

// tokenSeconds is how long a token is valid; kubelet replaces it when a fifth of it is left.
const tokenSeconds = 3600

// pods returns the template of the pods.
func (f *fleetPlan) pods(
	pod *v1alpha1.KubernetesPodSpec, container *v1alpha1.KubernetesContainerSpec, inits []corev1.Container,
) (corev1.PodTemplateSpec, error) {
	if pod == nil {
		pod = &v1alpha1.KubernetesPodSpec{}
	}
	if container == nil {
		container = &v1alpha1.KubernetesContainerSpec{}
	}
	envoy, err := f.envoyContainer(container)
	if err != nil {
		return corev1.PodTemplateSpec{}, err
	}
	grace := int64(f.drain.grace().Seconds())
	annotations := map[string]string{
		"prometheus.io/scrape": "true",
		"prometheus.io/port":   strconv.Itoa(bootstrap.MetricsPort),
		"prometheus.io/path":   bootstrap.MetricsPath,
	}
	maps.Copy(annotations, pod.Annotations)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: f.labels(pod.Labels), Annotations: f.annotations(annotations)},
		Spec: corev1.PodSpec{
			ServiceAccountName:            f.accountName(),
			AutomountServiceAccountToken:  new(bool),
			EnableServiceLinks:            new(bool),
			TerminationGracePeriodSeconds: &grace,
			InitContainers:                inits,
			Containers:                    []corev1.Container{envoy, f.shutdownContainer()},
			Volumes:                       slices.Concat(f.volumes(), pod.Volumes),
			SecurityContext:               f.podSecurity(pod.SecurityContext),
			Affinity:                      pod.Affinity,
			Tolerations:                   pod.Tolerations,
			ImagePullSecrets:              f.pullSecrets(pod.ImagePullSecrets),
			NodeSelector:                  pod.NodeSelector,
			TopologySpreadConstraints:     pod.TopologySpreadConstraints,
			PriorityClassName:             or(pod.PriorityClassName, ""),
		},
	}, nil
}

// pullSecrets are the given ones, or the control plane's own, which exist only in its namespace.
func (f *fleetPlan) pullSecrets(given []corev1.LocalObjectReference) []corev1.LocalObjectReference {
	if len(given) > 0 || f.besideGateway() {
		return given
	}
	return f.settings.PullSecrets
}

func (f *fleetPlan) volumes() []corev1.Volume {
	seconds := int64(tokenSeconds)
	return []corev1.Volume{
		{Name: envoyproxy.XDSConfigVolume, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: f.name},
		}}},
		{Name: envoyproxy.XDSTokenVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience:          f.settings.XDSHost,
				ExpirationSeconds: &seconds,
				Path:              tokenFile,
			}}},
		}}},
		{Name: envoyproxy.TempVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
}

// podSecurity lets Envoy bind the listeners' own ports without a privilege, if this is requested and the EnvoyProxy
// sets no kernel parameters itself.
func (f *fleetPlan) podSecurity(given *corev1.PodSecurityContext) *corev1.PodSecurityContext {
	const privileged = 1024
	if !slices.ContainsFunc(f.Ports, func(p translator.Port) bool { return p.Target < privileged }) {
		return given
	}
	security := corev1.PodSecurityContext{}
	if given != nil {
		security = *given
	}
	if security.Sysctls == nil {
		security.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}
	}
	return &security
}
