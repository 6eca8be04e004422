package node

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func ptr[T any](v T) *T { return &v }

// script returns a container that runs a shell script.
func script(name, text string) corev1.Container {
	return corev1.Container{Name: name, Image: "bash", Args: []string{"-c", text}}
}

// exec returns a handler that runs a shell script.
func execute(text string) *corev1.ExecAction {
	return &corev1.ExecAction{Command: []string{"bash", "-c", text}}
}

// shareData gives all containers the directory /data and the order in which they write to /data/order.
func shareData(pod *corev1.Pod) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name:         "data",
		VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
	})
	for _, all := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range all {
			all[i].VolumeMounts = append(all[i].VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: "/data"})
		}
	}
}

func TestContainersStartAndStopInOrder(t *testing.T) {
	c := cluster(t)
	pod := shell("ordered", "")
	// Each container notes its beginning and its end. The last to end prints all.
	note := func(name, end string) string {
		return fmt.Sprintf("echo +%s >> /data/order; trap 'echo -%s >> /data/order; %s exit 0' TERM; while :; do sleep 0.01; done", name, name, end)
	}
	proxy := script("proxy", note("proxy", "cat /data/order;"))
	proxy.RestartPolicy = ptr(corev1.ContainerRestartPolicyAlways)
	proxy.StartupProbe = &corev1.Probe{
		PeriodSeconds: 1,
		ProbeHandler:  corev1.ProbeHandler{Exec: execute("grep -q proxy /data/order")},
	}
	agent := script("agent", note("agent", ""))
	agent.RestartPolicy = ptr(corev1.ContainerRestartPolicyAlways)
	agent.StartupProbe = &corev1.Probe{
		PeriodSeconds: 1,
		ProbeHandler:  corev1.ProbeHandler{Exec: execute("grep -q agent /data/order")},
	}
	pod.Spec.InitContainers = []corev1.Container{
		script("first", "echo first >> /data/order"), proxy,
		script("second", "echo second >> /data/order"), agent,
	}
	main := script("main", note("main", ""))
	main.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: execute("sleep 0.2; echo hook >> /data/order")}}
	pod.Spec.Containers = []corev1.Container{main}
	shareData(pod)
	c.create(pod)
	ready := c.await("ordered", "ready", isReady)
	for _, s := range ready.Status.InitContainerStatuses {
		if sidecar := s.Name == "proxy" || s.Name == "agent"; s.Ready != sidecar && s.State.Terminated == nil {
			t.Errorf("status of init container: %v", s)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	follow, err := c.client.CoreV1().Pods(c.namespace).GetLogs("ordered",
		&corev1.PodLogOptions{Container: "proxy", Follow: true}).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = follow.Close() }()
	c.delete("ordered")
	var got []string
	for lines := bufio.NewScanner(follow); lines.Scan(); {
		got = append(got, lines.Text())
	}
	if want := "first +proxy second +agent +main hook -main -agent -proxy"; strings.Join(got, " ") != want {
		t.Errorf("order %q, want %q", got, want)
	}
}

func TestUnwellContainerIsRestarted(t *testing.T) {
	c := cluster(t)
	// It is told to end first, and a quick one would have ended by itself.
	pod := shell("unwell", "trap '' TERM; echo run; sleep 1000")
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	pod.Spec.TerminationGracePeriodSeconds = ptr(int64(0))
	main := &pod.Spec.Containers[0]
	main.LivenessProbe = &corev1.Probe{
		PeriodSeconds: 1, FailureThreshold: 1, InitialDelaySeconds: 1,
		ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(9)}},
	}
	c.create(pod)
	restarted := c.await("unwell", "restarted", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	if last := restarted.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 137 {
		t.Errorf("last state: %v", restarted.Status.ContainerStatuses[0])
	}
	if got := c.logs("unwell", corev1.PodLogOptions{Previous: true}); got != "run\n" {
		t.Errorf("log of the run before: %q", got)
	}
	c.delete("unwell")
}

func TestFailingContainerBacksOff(t *testing.T) {
	c := cluster(t)
	pod := shell("failing", `[ -e /data/once ] || { touch /data/once; exit 1; }`)
	pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	shareData(pod)
	c.create(pod)
	c.await("failing", "backing off", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CrashLoopBackOff" &&
			s[0].LastTerminationState.Terminated != nil && p.Status.Phase == corev1.PodRunning
	})
	if over := c.await("failing", "over", isOver); over.Status.Phase != corev1.PodSucceeded ||
		over.Status.ContainerStatuses[0].RestartCount != 1 {
		t.Errorf("status: %v", over.Status)
	}
}

func TestReadinessFollowsTheProbe(t *testing.T) {
	c := cluster(t)
	pod := shell("changing", "sleep 1; touch /data/ready; sleep 1.5; rm /data/ready; sleep 1000")
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		PeriodSeconds: 1, FailureThreshold: 1,
		ProbeHandler: corev1.ProbeHandler{Exec: execute("test -e /data/ready")},
	}
	shareData(pod)
	c.create(pod)
	c.await("changing", "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && !isReady(p) })
	first := c.await("changing", "ready", isReady)
	second := c.await("changing", "not ready", func(p *corev1.Pod) bool { return !isReady(p) })
	for i, p := range []*corev1.Pod{first, second} {
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodReady &&
				condition.LastTransitionTime.Before(ptr(metav1.NewTime(p.Status.StartTime.Add(time.Duration(i)*time.Second)))) {
				t.Errorf("transition of version %d: %v, started %v", i, condition, p.Status.StartTime)
			}
		}
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	c := cluster(t)
	image := shell("image", "")
	image.Spec.Containers[0].Image = "example.com/absent:v1"
	command := shell("command", "")
	command.Spec.Containers[0].Command = []string{"/absent"}
	config := shell("config", "")
	config.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}}}}
	for reason, pod := range map[string]*corev1.Pod{
		"ErrImagePull": image, "StartError": command,
		"CreateContainerConfigError": config,
	} {
		c.create(pod)
		got := c.await(pod.Name, "given a reason", func(p *corev1.Pod) bool {
			if len(p.Status.ContainerStatuses) == 0 {
				return false
			}
			s := p.Status.ContainerStatuses[0].State
			return s.Waiting != nil && s.Waiting.Reason == reason && strings.Contains(s.Waiting.Message, "absent") ||
				s.Terminated != nil && s.Terminated.Reason == reason && strings.Contains(s.Terminated.Message, "absent")
		})
		if want := map[string]corev1.PodPhase{"StartError": corev1.PodFailed}[reason]; want != "" &&
			got.Status.Phase != want {
			t.Errorf("%s: phase %s, want %s", reason, got.Status.Phase, want)
		}
		c.delete(pod.Name)
	}
}

func TestSecurityContextAndSubPath(t *testing.T) {
	c := cluster(t)
	pod := shell("careful", `id -u; id -g; touch /x 2>/dev/null || echo read-only; cat /etc/level; touch /data/x && echo written`)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr(true)}
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr(true)}
	pod.Spec.Volumes = []corev1.Volume{{
		Name:         "settings",
		VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
	}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{
		Name: "settings", MountPath: "/etc/level",
		SubPath: "level",
	}}
	shareData(pod)
	settings := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "settings"},
		Data:       map[string]string{"level": "debug\n"},
	}
	if _, err := c.client.CoreV1().ConfigMaps(c.namespace).Create(t.Context(), settings,
		metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.create(pod)
	c.await("careful", "over", isOver)
	if got, want := c.logs("careful", corev1.PodLogOptions{}), "65532\n65532\nread-only\ndebug\nwritten\n"; got != want {
		t.Errorf("logs %q, want %q", got, want)
	}
}

func TestHostNetwork(t *testing.T) {
	c := cluster(t)
	pod := shell("host", "exec 3<>/dev/tcp/10.244.0.1/10250 && echo connected")
	pod.Spec.HostNetwork = true
	c.create(pod)
	if over := c.await("host", "over", isOver); over.Status.PodIP != "10.244.0.1" {
		t.Errorf("address %s, want the node's", over.Status.PodIP)
	}
	if got := c.logs("host", corev1.PodLogOptions{}); got != "connected\n" {
		t.Errorf("logs %q", got)
	}
	c.delete("host")
	c.create(shell("other", "true")) // The node still has its network.
	c.await("other", "over", isOver)
}
