// Package field reads the values of a pod that the downward API offers to its containers.
package field

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Value returns the value of a fieldRef's path.
func Value(pod *corev1.Pod, path string) (string, error) {
	if read, ok := plain[path]; ok {
		return read(pod), nil
	}
	name, rest, found := strings.Cut(path, "['")
	if key, closed := strings.CutSuffix(rest, "']"); found && closed {
		switch name {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	return "", fmt.Errorf("field path %q is not one that pods can read", path)
}

var plain = map[string]func(*corev1.Pod) string{
	"metadata.name":           func(p *corev1.Pod) string { return p.Name },
	"metadata.namespace":      func(p *corev1.Pod) string { return p.Namespace },
	"metadata.uid":            func(p *corev1.Pod) string { return string(p.UID) },
	"metadata.labels":         func(p *corev1.Pod) string { return lines(p.Labels) },
	"metadata.annotations":    func(p *corev1.Pod) string { return lines(p.Annotations) },
	"spec.nodeName":           func(p *corev1.Pod) string { return p.Spec.NodeName },
	"spec.serviceAccountName": func(p *corev1.Pod) string { return p.Spec.ServiceAccountName },
	"status.hostIP":           func(p *corev1.Pod) string { return p.Status.HostIP },
	"status.hostIPs": func(p *corev1.Pod) string {
		return joined(p.Status.HostIPs, func(ip corev1.HostIP) string { return ip.IP })
	},
	"status.podIP": func(p *corev1.Pod) string { return p.Status.PodIP },
	"status.podIPs": func(p *corev1.Pod) string {
		return joined(p.Status.PodIPs, func(ip corev1.PodIP) string { return ip.IP })
	},
}

// Resource returns the value of a resourceFieldRef of a container, in units of its divisor, rounded up. A container
// without a limit can have all of the machine's processors and of its memory.
func Resource(pod *corev1.Pod, container string, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" {
		container = ref.ContainerName
	}
	all := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == container })
	if i < 0 {
		return "", fmt.Errorf("resource %q: the pod has no container %q", ref.Resource, container)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	lists := map[string]corev1.ResourceList{"limits": all[i].Resources.Limits, "requests": all[i].Resources.Requests}
	list, known := lists[kind]
	if !known {
		return "", fmt.Errorf("resource %q is neither limits.* nor requests.*", ref.Resource)
	}
	q, set := list[corev1.ResourceName(name)]
	if !set && kind == "limits" {
		q = machine(corev1.ResourceName(name))
	}
	return divide(q, ref.Divisor), nil
}

// Capacity returns what the machine has of the resources that containers may ask about.
func Capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(totalMemory(), resource.BinarySI),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
		corev1.ResourcePods:             resource.MustParse("1000"),
	}
}

func machine(name corev1.ResourceName) resource.Quantity { return Capacity()[name] }

func divide(q, by resource.Quantity) string {
	d := by.MilliValue()
	if d == 0 {
		d = 1000
	}
	return strconv.FormatInt((q.MilliValue()+d-1)/d, 10)
}

func joined[T any](all []T, text func(T) string) string {
	var b []string
	for _, v := range all {
		b = append(b, text(v))
	}
	return strings.Join(b, ",")
}

// lines returns a map as the downward API writes it: one key="value" a line, in order of the keys.
func lines(m map[string]string) string {
	var b []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b = append(b, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(b, "\n")
}
