package node

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

func TestPortForward(t *testing.T) {
	c := cluster(t)
	local := shell("local", "")
	local.Spec.Containers[0] = python("main", strings.ReplaceAll(serve, `("", 80)`, `("127.0.0.1", 80)`))
	local.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		PeriodSeconds: 1,
		ProbeHandler:  corev1.ProbeHandler{Exec: execute("exec 3<>/dev/tcp/127.0.0.1/80")},
	}
	c.create(local)
	c.await("local", "ready", isReady)
	request := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.namespace).Name("local").SubResource("portforward")
	dialer, err := portforward.NewSPDYOverWebsocketDialer(request.URL(), shared.config)
	if err != nil {
		t.Fatal(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"8080:80"}, stop, ready,
		io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	for range 3 {
		if got, err := get("http://127.0.0.1:8080"); err != nil || got != "127.0.0.1" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestExec(t *testing.T) {
	c := cluster(t)
	c.create(shell("shell", "sleep 1000"))
	c.await("shell", "ready", isReady)
	run := func(o corev1.PodExecOptions, in string) (string, string, error) {
		o.Stdout = true
		request := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.namespace).Name("shell").SubResource("exec").VersionedParams(&o, scheme.ParameterCodec)
		executor, err := remotecommand.NewWebSocketExecutor(shared.config, http.MethodGet, request.URL().String())
		if err != nil {
			t.Fatal(err)
		}
		var stdout, stderr strings.Builder
		streams := remotecommand.StreamOptions{Stdout: &stdout, Tty: o.TTY}
		if o.Stderr {
			streams.Stderr = &stderr
		}
		if o.Stdin {
			streams.Stdin = strings.NewReader(in)
		}
		err = executor.StreamWithContext(t.Context(), streams)
		return stdout.String(), stderr.String(), err
	}
	out, stderr, err := run(corev1.PodExecOptions{
		Command: []string{"bash", "-c", "cat; echo bad >&2; exit 3"},
		Stdin:   true, Stderr: true,
	}, "some input")
	var exit exec.CodeExitError
	if out != "some input" || stderr != "bad\n" || !errors.As(err, &exit) || exit.Code != 3 {
		t.Errorf("got %q, %q, %v", out, stderr, err)
	}
	large := strings.Repeat("0123456789", 100_000)
	if out, _, err := run(corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true}, large); out != large ||
		err != nil {
		t.Errorf("got %d bytes, %v; want %d", len(out), err, len(large))
	}
	if out, _, err := run(corev1.PodExecOptions{
		Command: []string{"bash", "-c", "test -t 0 && test -t 1 && echo terminal"},
		Stdin:   true, TTY: true,
	}, ""); out != "terminal\r\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if _, _, err := run(corev1.PodExecOptions{Command: []string{"absent"}}, ""); err == nil ||
		!strings.Contains(err.Error(), "absent") {
		t.Errorf("a missing program: %v", err)
	}
}
