package node

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/tests/cluster/node/family"
)

// state returns the status of a container: waiting, running, started, ready, restarting, done or failed.
func state(name, what string) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: name, Started: ptr(what == "started" || what == "ready"), Ready: what == "ready"}
	switch what {
	case "waiting":
		s.State.Waiting = &corev1.ContainerStateWaiting{}
	case "restarting":
		s.State.Waiting = &corev1.ContainerStateWaiting{}
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1}
	case "done":
		s.State.Terminated = &corev1.ContainerStateTerminated{}
	case "failed":
		s.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1}
	default:
		s.State.Running = &corev1.ContainerStateRunning{}
	}
	return s
}

func TestStatusOf(t *testing.T) {
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	for name, tc := range map[string]struct {
		policy              corev1.RestartPolicy
		init, sidecar, main string
		over                bool
		phase               corev1.PodPhase
		initialized, ready  bool
	}{
		"nothing has started": {
			always, "waiting", "waiting", "waiting", false, corev1.PodPending, false,
			false,
		},
		"init containers run": {
			always, "running", "waiting", "waiting", false, corev1.PodPending, false,
			false,
		},
		"an init container has failed": {
			never, "failed", "waiting", "waiting", true, corev1.PodFailed, false,
			false,
		},
		"an init container is tried again": {
			always, "restarting", "waiting", "waiting", false, corev1.PodPending, false,
			false,
		},
		"a sidecar starts": {
			always, "done", "running", "waiting", false, corev1.PodPending, false,
			false,
		},
		"a sidecar has started": {
			always, "done", "started", "waiting", false, corev1.PodPending, true,
			false,
		},
		"a sidecar is not ready": {always, "done", "started", "ready", false, corev1.PodRunning, true, false},
		"all are ready":          {always, "done", "ready", "ready", false, corev1.PodRunning, true, true},
		"the main container starts again": {
			always, "done", "ready", "restarting", false, corev1.PodRunning, true,
			false,
		},
		"the sidecar starts again": {
			always, "done", "restarting", "ready", false, corev1.PodRunning, true,
			false,
		},
		"the main container is done": {never, "done", "ready", "done", false, corev1.PodRunning, true, false},
		"all are done":               {never, "done", "failed", "done", false, corev1.PodSucceeded, true, false},
		"the main container failed":  {never, "done", "done", "failed", false, corev1.PodFailed, true, false},
		"it failed and runs again":   {onFailure, "done", "done", "failed", false, corev1.PodRunning, true, false},
		"the pod was deleted":        {always, "done", "done", "failed", true, corev1.PodFailed, true, false},
		"the pod was deleted before it started": {
			always, "waiting", "waiting", "waiting", true, corev1.PodFailed, false,
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{
				RestartPolicy: tc.policy,
				InitContainers: []corev1.Container{{Name: "init"}, {
					Name:          "sidecar",
					RestartPolicy: ptr(corev1.ContainerRestartPolicyAlways),
				}},
				Containers: []corev1.Container{{Name: "main"}},
			}}
			f := &facts{
				hosts: []netip.Addr{netip.MustParseAddr("10.244.0.1")},
				init:  []corev1.ContainerStatus{state("init", tc.init), state("sidecar", tc.sidecar)},
				main:  []corev1.ContainerStatus{state("main", tc.main)}, over: tc.over,
			}
			s := statusOf(pod, f, nil, metav1.Now())
			got := map[corev1.PodConditionType]bool{}
			for _, c := range s.Conditions {
				got[c.Type] = c.Status == corev1.ConditionTrue
			}
			want := map[corev1.PodConditionType]bool{
				corev1.PodScheduled: true, corev1.PodInitialized: tc.initialized,
				corev1.ContainersReady: tc.ready, corev1.PodReady: tc.ready,
			}
			if diff := cmp.Diff(want, got); diff != "" || s.Phase != tc.phase {
				t.Errorf("phase %s, want %s; conditions: %s", s.Phase, tc.phase, diff)
			}
		})
	}
}

func TestConditionsKeepTimesAndForeignOnes(t *testing.T) {
	past := metav1.NewTime(time.Now().Add(-time.Hour))
	foreign := corev1.PodCondition{Type: "example.com/gate", Status: corev1.ConditionFalse, LastTransitionTime: past}
	pod := &corev1.Pod{
		Spec: corev1.PodSpec{
			ReadinessGates: []corev1.PodReadinessGate{{ConditionType: foreign.Type}},
			Containers:     []corev1.Container{{Name: "main"}},
		},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{foreign}},
	}
	f := &facts{main: []corev1.ContainerStatus{state("main", "ready")}}
	before := []corev1.PodCondition{
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: past},
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, LastTransitionTime: past},
	}
	got := map[corev1.PodConditionType]string{}
	for _, c := range statusOf(pod, f, before, metav1.Now()).Conditions {
		got[c.Type] = string(c.Status) + map[bool]string{
			true:  " since then",
			false: " since now",
		}[c.LastTransitionTime.Equal(&past)]
	}
	want := map[corev1.PodConditionType]string{
		corev1.PodScheduled: "True since now", corev1.PodInitialized: "True since now",
		corev1.ContainersReady: "True since then",
		corev1.PodReady:        "False since now", foreign.Type: "False since then",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBinaryFor(t *testing.T) {
	c := Config{Images: map[string]string{
		"envoy:*": "/envoy", "envoy*": "/any", "envoy:v1.2": "/exact",
		"docker.io/other/envoy:v1.2": "/other", "echo-basic": "/echo",
	}}
	for image, want := range map[string]string{
		"docker.io/envoyproxy/envoy:v1.2": "/exact",
		"docker.io/other/envoy:v1.2":      "/other",
		"envoy:distroless-v1.40.0":        "/envoy",
		"envoy@sha256:0123":               "/any",
		"envoy-dev:latest":                "/any",
		"registry:5000/x/echo-basic:v1.5": "/echo",
		"echo-advanced:v1":                "",
	} {
		if got, err := c.binaryFor(image); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v; want %q", image, got, err, want)
		}
	}
}

func TestResolvConf(t *testing.T) {
	server := netip.MustParseAddr("10.244.0.1")
	for name, tc := range map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"by default": {
			corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst},
			"search ns.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.244.0.1\noptions ndots:5\n",
		},
		"the machine": {corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, "nameserver 10.244.0.1\n"},
		"none": {
			corev1.PodSpec{
				DNSPolicy: corev1.DNSNone,
				DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}, Searches: []string{"example.com"}},
			},
			"search example.com\nnameserver 192.0.2.1\n",
		},
		"options": {
			corev1.PodSpec{DNSConfig: &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{
				Name:  "ndots",
				Value: ptr("2"),
			}, {Name: "edns0"}}}},
			"search ns.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.244.0.1\noptions ndots:2 edns0\n",
		},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: tc.spec}
		if diff := cmp.Diff(tc.want, resolvConf(pod, server, "cluster.local")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAddresses(t *testing.T) {
	a := newAddresses(
		family.Family{Gateway: netip.MustParseAddr("10.0.0.1"), Pods: netip.MustParsePrefix("10.0.0.0/29")},
		family.Family{Gateway: netip.MustParseAddr("fd00::1"), Pods: netip.MustParsePrefix("fd00::/125")},
	)
	got := ""
	for i := range 8 {
		addrs, err := a.take()
		if err != nil {
			got += " none"
			continue
		}
		got += " " + addrs[0].String() + "," + addrs[1].String()
		if i == 1 {
			a.release([]netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")})
		}
	}
	if want := " 10.0.0.2,fd00::2 10.0.0.3,fd00::3 10.0.0.4,fd00::4 10.0.0.5,fd00::5 10.0.0.6,fd00::6 10.0.0.2,fd00::2 none none"; got != want {
		t.Errorf("got%s, want%s", got, want)
	}
}
