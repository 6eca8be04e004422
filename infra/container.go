package infra

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/bootstrap"
	"gatehouse/infra/shutdown"
	"gatehouse/policies/envoyproxy"
)

// The probes. Until Envoy is ready for the first time it is probed every second, for startTries seconds, because a
// control plane may need this time to come back. After that, readiness and liveness are probed separately, so that
// draining does not kill a pod.
const (
	startTries  = 300
	readyTries  = 3
	livePeriod  = 10
	liveTries   = 3
	liveTimeout = 5
)

// nonRoot is the user of distroless images.
const nonRoot = 65532

func (f *fleetPlan) envoyContainer(given *v1alpha1.KubernetesContainerSpec) (corev1.Container, error) {
	args, err := f.envoyArgs()
	if err != nil {
		return corev1.Container{}, err
	}
	mounts := []corev1.VolumeMount{
		{Name: envoyproxy.XDSConfigVolume, MountPath: configDir, ReadOnly: true},
		{Name: envoyproxy.XDSTokenVolume, MountPath: tokenDir, ReadOnly: true},
	}
	security := or(given.SecurityContext, unprivileged())
	return corev1.Container{
		Name:            envoyproxy.EnvoyContainer,
		Image:           f.envoyImage(given),
		Command:         []string{"envoy"},
		Args:            args,
		Env:             slices.Concat(podEnv(), []corev1.EnvVar{memoryEnv()}, given.Env),
		Ports:           containerPorts(),
		Resources:       or(given.Resources, requests("100m", "512Mi")),
		SecurityContext: &security,
		VolumeMounts:    slices.Concat(mounts, given.VolumeMounts),
		StartupProbe: probe(bootstrap.ReadyPath, bootstrap.ReadyPort, corev1.Probe{
			PeriodSeconds: 1, FailureThreshold: startTries, TimeoutSeconds: 1, TerminationGracePeriodSeconds: hungGrace(),
		}),
		ReadinessProbe: probe(bootstrap.ReadyPath, bootstrap.ReadyPort, corev1.Probe{
			PeriodSeconds: 1, FailureThreshold: readyTries, TimeoutSeconds: 1,
		}),
		LivenessProbe: probe(bootstrap.LivePath, bootstrap.ReadyPort, corev1.Probe{
			PeriodSeconds: livePeriod, FailureThreshold: liveTries, TimeoutSeconds: liveTimeout,
			TerminationGracePeriodSeconds: hungGrace(),
		}),
		Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{
			HTTPGet: &corev1.HTTPGetAction{
				Path: shutdown.ReadyPath, Port: intstr.FromInt32(shutdown.Port),
				Scheme: corev1.URISchemeHTTP,
			},
		}},
	}, nil
}

// shutdownContainer waits beside Envoy for the shutdown: Kubernetes stops Envoy only after this container has answered.
// It has no liveness probe, because a restart by kubelet runs its hook, which would drain an Envoy that should
// continue.
func (f *fleetPlan) shutdownContainer() corev1.Container {
	security := unprivileged()
	readOnly := true
	security.ReadOnlyRootFilesystem = &readOnly
	return corev1.Container{
		Name:            envoyproxy.ShutdownContainer,
		Image:           f.settings.GatehouseImage,
		ImagePullPolicy: f.settings.GatehousePullPolicy,
		Command:         []string{"gatehouse"},
		Args:            f.drain.managerArgs(),
		Resources:       requests("10m", "32Mi"),
		SecurityContext: &security,
		VolumeMounts:    []corev1.VolumeMount{{Name: envoyproxy.TempVolume, MountPath: tempDir}},
		StartupProbe: probe(shutdown.HealthPath, shutdown.Port,
			corev1.Probe{PeriodSeconds: 1, FailureThreshold: startTries, TimeoutSeconds: 1}),
		Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{
			Exec: &corev1.ExecAction{Command: f.drain.commandArgs()},
		}},
	}
}

// bootstrap is how Envoys of this fleet connect to the control plane.
func (f *fleetPlan) bootstrap() bootstrap.Settings {
	return bootstrap.Settings{
		XDSHost:   f.settings.XDSHost,
		XDSPort:   f.settings.XDSPort,
		ConfigDir: configDir,
		TokenFile: path.Join(tokenDir, tokenFile),
		IPv6:      or(f.spec.IPFamily, v1alpha1.IPFamilyIPv4) != v1alpha1.IPFamilyIPv4,
	}
}

// envoyArgs passes the bootstrap as an argument, not as a file of the ConfigMap: Envoy reads it once at its start, so a
// change of the bootstrap must replace the pods, as a change of the template does.
func (f *fleetPlan) envoyArgs() ([]string, error) {
	config, err := bootstrap.JSON(f.bootstrap())
	if err != nil {
		return nil, fmt.Errorf("fleet of Gateway %s: %w", f.key, err)
	}
	args := []string{
		"--service-cluster", f.key,
		"--service-node", "$(" + envoyproxy.EnvPodName + ")",
		"--service-zone", "$(" + envoyproxy.EnvZone + ")$(" + envoyproxy.EnvInjectedZone + ")", // One of them is empty.
		// Kubernetes treats $( as the start of a variable, so it is escaped.
		"--config-yaml", strings.ReplaceAll(strings.ReplaceAll(config, "$(", "$$("), bootstrap.MemoryLimit,
			"$("+envoyproxy.EnvMemoryLimit+")"),
		"--log-level", string(f.logLevel()),
		"--component-log-level", f.componentLogLevels(),
		"--drain-strategy", "immediate",
		"--drain-time-s", strconv.Itoa(int(f.drain.drainTime().Seconds())),
	}
	if f.spec.Concurrency != nil {
		args = append(args, "--concurrency", strconv.Itoa(int(*f.spec.Concurrency)))
	}
	return append(args, f.spec.ExtraArgs...), nil
}

func (f *fleetPlan) logLevel() v1alpha1.LogLevel {
	if level, ok := f.spec.Logging.Level[v1alpha1.LogComponentDefault]; ok {
		return level
	}
	return v1alpha1.LogLevelWarn
}

func (f *fleetPlan) componentLogLevels() string {
	levels := map[v1alpha1.ProxyLogComponent]v1alpha1.LogLevel{"misc": v1alpha1.LogLevelError}
	maps.Copy(levels, f.spec.Logging.Level)
	delete(levels, v1alpha1.LogComponentDefault)
	list := make([]string, 0, len(levels))
	for _, component := range slices.Sorted(maps.Keys(levels)) {
		list = append(list, string(component)+":"+string(levels[component]))
	}
	return strings.Join(list, ",")
}

// envoyImage is the requested image; a repository without a tag gets the tag and digest of the built-in image.
func (f *fleetPlan) envoyImage(given *v1alpha1.KubernetesContainerSpec) string {
	if given.Image != nil {
		return *given.Image
	}
	if given.ImageRepository == nil {
		return f.settings.EnvoyImage
	}
	folder, name := path.Split(f.settings.EnvoyImage)
	if i := strings.IndexAny(name, ":@"); i >= 0 {
		return *given.ImageRepository + f.settings.EnvoyImage[len(folder)+i:]
	}
	return *given.ImageRepository
}

// hungGrace is the grace period in seconds of an Envoy that failed its probes: its hook would wait for a drain that
// nobody started.
func hungGrace() *int64 {
	seconds := int64(10)
	return &seconds
}

// containerPorts are the ports that others find by name. The ports of listeners are not among them: Kubernetes does not
// need them, and each new one would replace the running Envoys and end their connections.
func containerPorts() []corev1.ContainerPort {
	return []corev1.ContainerPort{
		{Name: "metrics", ContainerPort: bootstrap.MetricsPort, Protocol: corev1.ProtocolTCP},
		{Name: "readiness", ContainerPort: bootstrap.ReadyPort, Protocol: corev1.ProtocolTCP},
	}
}

// podEnv tells a container where it runs. The zone is a label that the API server copies from the node to the pod, from
// Kubernetes 1.35 on (KEP-4742). Before, it is an annotation that our webhook adds. Without zones, both are empty.
func podEnv() []corev1.EnvVar {
	return []corev1.EnvVar{
		fieldEnv(envoyproxy.EnvPodNamespace, "metadata.namespace"),
		fieldEnv(envoyproxy.EnvPodName, "metadata.name"),
		fieldEnv(envoyproxy.EnvZone, "metadata.labels['"+corev1.LabelTopologyZone+"']"),
		fieldEnv(envoyproxy.EnvInjectedZone, "metadata.annotations['"+envoyproxy.AnnotationZone+"']"),
	}
}

func fieldEnv(name, field string) corev1.EnvVar {
	return corev1.EnvVar{
		Name:      name,
		ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: field}},
	}
}

// memoryEnv is the memory limit of the container in bytes, or the node's memory for pods if there is no limit
// (Kubernetes, downward API).
func memoryEnv() corev1.EnvVar {
	return corev1.EnvVar{
		Name: envoyproxy.EnvMemoryLimit,
		ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{
			ContainerName: envoyproxy.EnvoyContainer, Resource: "limits.memory",
		}},
	}
}

func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory),
	}}
}

func unprivileged() corev1.SecurityContext {
	no, yes, user := false, true, int64(nonRoot)
	return corev1.SecurityContext{
		AllowPrivilegeEscalation: &no,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		RunAsNonRoot:             &yes,
		RunAsUser:                &user,
		RunAsGroup:               &user,
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// probe requests a path of a port as often as p says.
func probe(path string, port int32, p corev1.Probe) *corev1.Probe {
	p.HTTPGet = &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(port), Scheme: corev1.URISchemeHTTP}
	return &p
}
