// Package e2e tests Gatehouse as users run it: installed from its Helm chart into a real Kubernetes, with real Envoys
// and real traffic.
package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// root is the repository, bin its binaries, dir the cluster's directory.
var root, bin, dir string

// teardown is how long before the time limit of go test the cluster is removed.
const teardown = 30 * time.Second

// roles are what this program is in pods and beside clusters, by the variable of the environment that makes it so and whose
// value it gets.
var roles = map[string]func(value string) error{
	upstreamDNS:    serveDNS,
	authorizer:     func(string) error { return serveAuth() },
	connectedEnvoy: watchConnection,
	securedServer:  func(string) error { return serveSecured() },
	acmeFront:      serveFront,
	http3Target:    askHTTP3,
}

func TestMain(m *testing.M) {
	for name, play := range roles {
		if value := os.Getenv(name); value != "" {
			if err := play(value); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	ctrllog.SetLogger(zap.New()) // A client says with a stack trace that it has none.
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// run starts the one cluster of all tests, and removes it whatever happens.
func run(m *testing.M) (code int, err error) {
	if root, err = filepath.Abs("../.."); err != nil {
		return 1, err
	}
	bin = filepath.Join(root, "bin")
	for _, name := range []string{"cluster", "gatehouse", "kubectl", "helm", "envoy", "gateway-api-crds.yaml"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return 1, fmt.Errorf("%w; run make build", err)
		}
	}
	if dir, err = os.MkdirTemp("", "gatehouse-e2e"); err != nil {
		return 1, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	flag.Parse()
	if limit := flag.Lookup("test.timeout").Value.(flag.Getter).Get().(time.Duration); limit > 0 {
		var cancel context.CancelFunc // The end by go test's own time limit would leave the cluster behind.
		ctx, cancel = context.WithTimeout(ctx, max(limit-teardown, limit/2))
		defer cancel()
	}
	defer func() {
		down := exec.Command(filepath.Join(bin, "cluster"), "--dir", dir, "down")
		if out, failed := down.CombinedOutput(); failed != nil && err == nil {
			code, err = 1, fmt.Errorf("cluster down: %w: %s", failed, out)
		}
		_ = os.RemoveAll(dir) // What is left is a few logs.
	}()
	// Tests that want more replicas ask for them: what one replica logs and remembers is easier to follow.
	up := exec.CommandContext(ctx, filepath.Join(root, "tests/up.sh"), dir, "--set",
		"deployment.replicas=1,certgen.job.enabled=true",
		"--set-file", "admission.clientCA="+filepath.Join(dir, "pki/ca.crt"))
	up.Stdout, up.Stderr = os.Stderr, os.Stderr
	if err := up.Run(); err != nil {
		return 1, fmt.Errorf("start the cluster: %w", err)
	}
	if out, err := kubectl("apply", "-f", filepath.Join(root, "manifests/quickstart.yaml")); err != nil ||
		strings.Contains(out, "Warning") {
		return 1, fmt.Errorf("the quickstart as one file: %w: %s", err, out)
	}
	done := make(chan int, 1)
	go func() { done <- m.Run() }()
	select {
	case code := <-done:
		if code != 0 {
			keepLogs()
		}
		return code, nil
	case <-ctx.Done():
		keepLogs()
		return 1, ctx.Err()
	}
}

// kubectl answers with what kubectl printed, on both streams.
func kubectl(args ...string) (string, error) { return kubectlOf("", args...) }

// kubectlOf is kubectl that is given an object on its standard input.
func kubectlOf(manifest string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(bin, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"))
	cmd.Stdin = strings.NewReader(manifest)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// apply stores a manifest, with flags of kubectl apply, and answers with what kubectl printed.
func apply(manifest string, flags ...string) (string, error) {
	return kubectlOf(manifest, append([]string{"apply", "-f", "-"}, flags...)...)
}

// inside runs a command in the cluster's network.
func inside(args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(bin, "cluster"), append([]string{"--dir", dir, "exec", "--"},
		args...)...).Output()
	return string(out), err
}

func must(t *testing.T, out string, err error) string {
	t.Helper()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// eventually waits until what answers without an error, and fails with the last one.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	within(t, 40*time.Second, what, try)
}

// within is eventually with a time limit of one's own.
func within(t *testing.T, limit time.Duration, what string, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	logs, _ := kubectl("logs", "-n", "gatehouse-system", "deployment/gatehouse", "--tail=20")
	t.Fatalf("%s: %v\nthe control plane's last words:\n%s", what, err, logs)
}

// address is where a Gateway is reached from this machine: the loopback address that stands for the first of its
// status.
func address(t *testing.T, namespace, gateway string) string {
	t.Helper()
	var found string
	eventually(t, "the address of Gateway "+gateway, func() error {
		ip, err := kubectl("get", "gateway", "-n", namespace, gateway, "-o", "jsonpath={.status.addresses[0].value}")
		parsed := net.ParseIP(strings.TrimSpace(ip)).To4()
		if err != nil || parsed == nil {
			return fmt.Errorf("status.addresses: %q, %w", ip, err)
		}
		server, err := kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
		if err != nil {
			return err
		}
		network := strings.Split(strings.TrimPrefix(server, "https://"), ".")
		found = fmt.Sprintf("127.%s.%d.%d", network[1], parsed[2], parsed[3])
		return nil
	})
	return found
}

// get sends one request for a host to an address and answers with the status and the body.
func get(client *http.Client, address, host, path string) (int, string, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, "", err
	}
	request.Host = host
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = io.Copy(&body, response.Body)
	return response.StatusCode, body.String(), err
}

// answers waits until a host answers with a status.
func answers(t *testing.T, address, host, path string, want int) {
	t.Helper()
	client := &http.Client{Timeout: 3 * time.Second}
	eventually(t, fmt.Sprintf("%s%s answers %d", host, path, want), func() error {
		code, body, err := get(client, address, host, path)
		if err == nil && code != want {
			err = fmt.Errorf("%d %s", code, body)
		}
		return err
	})
}
