package node

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPodRunsToItsEnd(t *testing.T) {
	c := cluster(t)
	begin := time.Now()
	c.create(shell("job", `echo hello from $HOSTNAME; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo because > /dev/termination-log; exit 3`))
	pod := c.await("job", "over", isOver)
	t.Logf("over after %v", time.Since(begin))
	state := pod.Status.ContainerStatuses[0].State.Terminated
	if pod.Status.Phase != corev1.PodFailed || state.ExitCode != 3 || state.Message != "because\n" ||
		state.Reason != "Error" {
		t.Errorf("status: %v", pod.Status)
	}
	if got, want := c.logs("job", corev1.PodLogOptions{}), "hello from job\n"+c.namespace; got != want {
		t.Errorf("logs %q, want %q", got, want)
	}
	c.delete("job")
	silent := shell("silent", "echo the reason; exit 1")
	silent.Spec.Containers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	c.create(silent)
	if state := c.await("silent", "over",
		isOver).Status.ContainerStatuses[0].State.Terminated; state.Message != "the reason\n" {
		t.Errorf("message from the log: %v", state)
	}
}

func TestPodIsReadyAtOnce(t *testing.T) {
	c := cluster(t)
	for range 5 {
		begin := time.Now()
		c.create(shell("server", "sleep 1000"))
		running := c.await("server", "ready", isReady)
		t.Logf("ready after %v", time.Since(begin))
		if running.Status.PodIP == "" || running.Status.HostIP == "" || running.Status.Phase != corev1.PodRunning {
			t.Errorf("status: %v", running.Status)
		}
		begin = time.Now()
		c.delete("server")
		t.Logf("gone after %v", time.Since(begin))
	}
}

func TestMissingSecretIsWaitedFor(t *testing.T) {
	c := cluster(t)
	pod := shell("waiting", `cat /keys/k; until [ "$(cat /keys/k)" = new ]; do sleep 0.01; done; echo renewed`)
	pod.Spec.Volumes = []corev1.Volume{{
		Name:         "keys",
		VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "keys"}},
	}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "keys", MountPath: "/keys"}}
	c.create(pod)
	c.await("waiting", "waiting", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ContainerCreating" &&
			strings.Contains(s[0].State.Waiting.Message, `secret "keys" not found`)
	})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys"}, StringData: map[string]string{"k": "old\n"}}
	if _, err := c.client.CoreV1().Secrets(c.namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await("waiting", "running", isReady)
	c.eventually("the first value", func() bool { return c.logs("waiting", corev1.PodLogOptions{}) == "old\n" })
	secret.StringData["k"] = "new"
	if _, err := c.client.CoreV1().Secrets(c.namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await("waiting", "over", isOver)
	if got := c.logs("waiting", corev1.PodLogOptions{}); got != "old\nrenewed\n" {
		t.Errorf("logs %q", got)
	}
}

func TestDaemonSetRunsOnTheNode(t *testing.T) {
	c := cluster(t)
	pod := shell("daemon", "sleep 1000")
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "daemon"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels},
			Spec:       corev1.PodSpec{Containers: pod.Spec.Containers},
		},
	}}
	if _, err := c.client.AppsV1().DaemonSets(c.namespace).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("the daemon", func() bool {
		set, err := c.client.AppsV1().DaemonSets(c.namespace).Get(t.Context(), "daemon", metav1.GetOptions{})
		return err == nil && set.Status.NumberReady == 1
	})
}
