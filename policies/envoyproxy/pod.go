package envoyproxy

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// The labels that identify the objects and the pods of a Gateway. Nobody can change them.
const (
	LabelName             = "app.kubernetes.io/name"
	LabelComponent        = "app.kubernetes.io/component"
	LabelManagedBy        = "app.kubernetes.io/managed-by"
	LabelGatewayNamespace = "gateway.envoyproxy.io/owning-gateway-namespace"
	LabelGatewayName      = "gateway.envoyproxy.io/owning-gateway-name"
)

// The containers of a pod.
const (
	EnvoyContainer    = "envoy"
	ShutdownContainer = "shutdown-manager"
)

// The volumes that every pod has.
const (
	XDSConfigVolume = "xds-config"
	XDSTokenVolume  = "xds-token"
	TempVolume      = "tmp"
)

// FleetCluster is the cluster of the Envoys of a fleet themselves, by which each knows how many there are in its zone.
const FleetCluster = "fleet"

// The environment that every Envoy has.
const (
	EnvPodNamespace = "ENVOY_POD_NAMESPACE"
	EnvPodName      = "ENVOY_POD_NAME"
	EnvZone         = "ENVOY_SERVICE_ZONE"
	EnvInjectedZone = "ENVOY_INJECTED_ZONE"
	EnvMemoryLimit  = "ENVOY_MEMORY_LIMIT"
)

var (
	ownLabels     = []string{LabelName, LabelComponent, LabelManagedBy, LabelGatewayNamespace, LabelGatewayName}
	ownContainers = []string{EnvoyContainer, ShutdownContainer}
	ownVolumes    = []string{XDSConfigVolume, XDSTokenVolume, TempVolume}
	ownEnv        = []string{EnvPodNamespace, EnvPodName, EnvZone, EnvInjectedZone, EnvMemoryLimit}
)

// checkPod reports names that are used twice, which the API server rejects, and mounts of missing volumes.
func checkPod(field string, pod *v1alpha1.KubernetesPodSpec, container *v1alpha1.KubernetesContainerSpec,
	inits []corev1.Container,
) []verdict.Problem {
	if pod == nil {
		pod = &v1alpha1.KubernetesPodSpec{}
	}
	problems := slices.Concat(
		checkOwnLabels(field+".pod.labels", pod.Labels),
		checkUnique(field+".pod.volumes", "volume", names(pod.Volumes, func(v corev1.Volume) string { return v.Name }),
			ownVolumes),
		checkUnique(field+".initContainers", "container", names(inits, func(c corev1.Container) string { return c.Name }),
			ownContainers),
	)
	if container == nil {
		return problems
	}
	problems = append(problems, checkUnique(field+".container.env", "variable",
		names(container.Env, func(e corev1.EnvVar) string { return e.Name }), ownEnv)...)
	for i, mount := range container.VolumeMounts {
		known := func(v corev1.Volume) bool { return v.Name == mount.Name }
		if !slices.ContainsFunc(pod.Volumes, known) {
			problems = append(problems, feature.Invalid(at(field+".container.volumeMounts", i)+".name",
				"there is no volume %q: add it to %s.pod.volumes or correct the name", mount.Name, field))
		}
	}
	return problems
}

func names[T any](items []T, name func(T) string) []string {
	list := make([]string, 0, len(items))
	for _, item := range items {
		list = append(list, name(item))
	}
	return list
}

func checkUnique(field, what string, given, own []string) []verdict.Problem {
	var problems []verdict.Problem
	for i, name := range given {
		switch {
		case slices.Contains(own, name):
			problems = append(problems, feature.Invalid(at(field, i)+".name",
				"the name %q belongs to a %s that every Envoy pod has: choose another", name, what))
		case slices.Index(given, name) < i:
			problems = append(problems, feature.Invalid(at(field, i)+".name", "%s %q is listed twice: remove one", what, name))
		}
	}
	return problems
}

func checkOwnLabels(field string, labels map[string]string) []verdict.Problem {
	var problems []verdict.Problem
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if slices.Contains(ownLabels, label) {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s[%s]", field, label),
				"the label cannot be set to %q, since the fleet's objects are found by it: remove it", labels[label]))
		}
	}
	return problems
}
