package node

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// facts are what the node knows of a pod beyond the pod's object.
type facts struct {
	hosts   []netip.Addr
	addrs   []netip.Addr // none until the pod has a network
	started metav1.Time
	// init and main are the statuses of the containers in the order of the spec. A container that restarts for
	// good among the init containers is a sidecar.
	init, main []corev1.ContainerStatus
	// over says that nothing of the pod runs or will run.
	over bool
}

// statusOf returns the status that a pod with these facts has. Conditions keep their times from before, and those that
// others have written to the object are kept as they are.
func statusOf(pod *corev1.Pod, f *facts, before []corev1.PodCondition, now metav1.Time) corev1.PodStatus {
	s := corev1.PodStatus{
		ObservedGeneration:    pod.Generation,
		Phase:                 phase(pod, f),
		StartTime:             &f.started,
		QOSClass:              pod.Status.QOSClass,
		InitContainerStatuses: slices.Clone(f.init),
		ContainerStatuses:     slices.Clone(f.main),
	}
	f.setAddresses(&s)
	c := conditions{before: before, now: now, generation: pod.Generation}
	c.set(corev1.PodScheduled, "", "")
	completed := s.Phase == corev1.PodSucceeded
	switch {
	case completed:
		c.set(corev1.PodInitialized, "PodCompleted", "")
	case initialized(pod, f):
		c.set(corev1.PodInitialized, "", "")
	default:
		c.unset(corev1.PodInitialized, "ContainersNotInitialized",
			"containers with incomplete status: "+names(f.init, notInitialized(pod)))
	}
	notReady := unready(pod, f)
	ready := notReady == "" && !f.over
	switch {
	case ready:
		c.set(corev1.ContainersReady, "", "")
	case completed:
		c.unset(corev1.ContainersReady, "PodCompleted", "")
	default:
		c.unset(corev1.ContainersReady, "ContainersNotReady", "containers with unready status: "+notReady)
	}
	gate := closedGate(pod)
	switch {
	case ready && gate == "":
		c.set(corev1.PodReady, "", "")
	case ready:
		c.unset(corev1.PodReady, "ReadinessGatesNotReady", "the readiness gate "+gate+" is not met")
	case completed:
		c.unset(corev1.PodReady, "PodCompleted", "")
	default:
		c.unset(corev1.PodReady, "ContainersNotReady", "containers with unready status: "+notReady)
	}
	s.Conditions = c.withForeign(pod)
	return s
}

// setAddresses writes what is known of the node's and the pod's addresses.
func (f *facts) setAddresses(s *corev1.PodStatus) {
	s.HostIPs, s.PodIPs = nil, nil
	for _, a := range f.hosts {
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: a.String()})
		s.HostIP = s.HostIPs[0].IP
	}
	for _, a := range f.addrs {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: a.String()})
		s.PodIP = s.PodIPs[0].IP
	}
}

// phase follows the Kubernetes documentation of the pod life cycle.
func phase(pod *corev1.Pod, f *facts) corev1.PodPhase {
	if f.over || ranOut(pod, f) {
		if slices.ContainsFunc(f.main, failed) || slices.ContainsFunc(f.init, failedInit(pod)) {
			return corev1.PodFailed
		}
		if slices.ContainsFunc(f.main, func(c corev1.ContainerStatus) bool { return c.State.Terminated == nil }) {
			return corev1.PodFailed // It was ended before it had begun.
		}
		return corev1.PodSucceeded
	}
	if begun(f) {
		return corev1.PodRunning
	}
	return corev1.PodPending
}

// begun returns whether a main container has ever run.
func begun(f *facts) bool {
	return slices.ContainsFunc(f.main, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil
	})
}

// ranOut returns whether every container has ended and none will run again.
func ranOut(pod *corev1.Pod, f *facts) bool {
	running := func(c corev1.ContainerStatus) bool { return c.State.Running != nil }
	again := func(c corev1.ContainerStatus) bool {
		return c.State.Terminated == nil || pod.Spec.RestartPolicy != corev1.RestartPolicyNever && failed(c)
	}
	return pod.Spec.RestartPolicy != corev1.RestartPolicyAlways &&
		!slices.ContainsFunc(f.init, running) && !slices.ContainsFunc(f.main, again)
}

func failed(c corev1.ContainerStatus) bool {
	return c.State.Terminated != nil && c.State.Terminated.ExitCode != 0
}

// failedInit is failed for init containers, of which sidecars count for nothing.
func failedInit(pod *corev1.Pod) func(corev1.ContainerStatus) bool {
	return func(c corev1.ContainerStatus) bool { return failed(c) && !isSidecar(pod, c.Name) }
}

func isSidecar(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == name &&
			restartsAlways(&c)
	})
}

func restartsAlways(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// notInitialized returns whether an init container has still to complete or, as a sidecar, to start.
func notInitialized(pod *corev1.Pod) func(corev1.ContainerStatus) bool {
	return func(c corev1.ContainerStatus) bool {
		if isSidecar(pod, c.Name) {
			return c.Started == nil || !*c.Started
		}
		return c.State.Terminated == nil || c.State.Terminated.ExitCode != 0
	}
}

// initialized returns whether the main containers may run. Once they have, a restart of a sidecar changes nothing.
func initialized(pod *corev1.Pod, f *facts) bool {
	return begun(f) || !slices.ContainsFunc(f.init, notInitialized(pod))
}

// unready lists the containers that keep the pod from being ready.
func unready(pod *corev1.Pod, f *facts) string {
	notReady := func(c corev1.ContainerStatus) bool { return !c.Ready }
	sidecars := slices.DeleteFunc(slices.Clone(f.init), func(c corev1.ContainerStatus) bool {
		return !isSidecar(pod,
			c.Name)
	})
	return names(slices.Concat(sidecars, f.main), notReady)
}

// names lists the containers that a predicate holds for; without any it is empty.
func names(all []corev1.ContainerStatus, holds func(corev1.ContainerStatus) bool) string {
	list := ""
	for _, c := range all {
		if holds(c) {
			list += " " + c.Name
		}
	}
	if list == "" {
		return ""
	}
	return "[" + list[1:] + "]"
}

// closedGate returns the first readiness gate of the pod that is not met.
func closedGate(pod *corev1.Pod) string {
	for _, g := range pod.Spec.ReadinessGates {
		met := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == g.ConditionType && c.Status == corev1.ConditionTrue
		})
		if !met {
			return string(g.ConditionType)
		}
	}
	return ""
}

// conditions builds the node's conditions of a pod.
type conditions struct {
	before     []corev1.PodCondition
	now        metav1.Time
	generation int64
	own        []corev1.PodCondition
}

func (c *conditions) set(kind corev1.PodConditionType, reason, message string) {
	c.add(corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message})
}

func (c *conditions) unset(kind corev1.PodConditionType, reason, message string) {
	c.add(corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message})
}

func (c *conditions) add(own corev1.PodCondition) {
	own.ObservedGeneration = c.generation
	own.LastTransitionTime = c.now
	for _, b := range c.before {
		if b.Type == own.Type && b.Status == own.Status && !b.LastTransitionTime.IsZero() {
			own.LastTransitionTime = b.LastTransitionTime
		}
	}
	c.own = append(c.own, own)
}

// withForeign returns the conditions with those that others have written.
func (c *conditions) withForeign(pod *corev1.Pod) []corev1.PodCondition {
	for _, b := range pod.Status.Conditions {
		if !slices.ContainsFunc(c.own, func(o corev1.PodCondition) bool { return o.Type == b.Type }) {
			c.own = append(c.own, b)
		}
	}
	return c.own
}
