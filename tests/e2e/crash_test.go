package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// envoyConfig is all that the quickstart's Envoy runs, with the time at which it took each part.
func envoyConfig(t *testing.T) (config map[string]any) {
	t.Helper()
	pod, _ := staying(t, quickstartEnvoy)
	out, err := kubectl("exec", "-n", "gatehouse-system", pod, "-c", "envoy", "--", "curl", "-s",
		"http://127.0.0.1:19000/config_dump?include_eds")
	must(t, out, err)
	if err := json.Unmarshal([]byte(out), &config); err != nil || !strings.Contains(out, "last_updated") {
		t.Fatalf("Envoy's configuration: %v: %.300s", err, out)
	}
	return config
}

// TestControlPlaneCrashes: a control plane that is killed without a word leaves its Envoys serving, and its successor
// changes nothing: Envoy runs the same versions of everything, taken at the same times.
func TestControlPlaneCrashes(t *testing.T) {
	at := address(t, "default", "eg")
	answers(t, at, "www.example.com", "/", http.StatusOK)
	out, err := kubectl("rollout", "status", "-n", "gatehouse-system", "deployment/gatehouse", "--timeout=60s")
	must(t, out, err)
	plane, _ := staying(t, controlPlane)
	restarts := func() string {
		out, err := kubectl("get", "pod", "-n", "gatehouse-system", plane, "-o",
			"jsonpath={.status.containerStatuses[0].restartCount}")
		return must(t, out, err)
	}
	time.Sleep(time.Second) // What earlier tests changed has arrived.
	before, count := envoyConfig(t), restarts()
	end := loads(t, at, "www.example.com")
	out, err = kubectl("exec", "-n", "gatehouse-system", plane, "--", "sh", "-c",
		`for p in /proc/[0-9]*; do if tr '\0' ' ' <$p/cmdline | grep -q '^[^ ]*gatehouse serve'; then kill -9 ${p#/proc/}; fi; done`)
	if err != nil {
		t.Log(out, err) // The command may end with its container.
	}
	eventually(t, "the control plane has been started again", func() error {
		if now := restarts(); now == count {
			return fmt.Errorf("%s restarts, as before", now)
		}
		_, err := kubectl("rollout", "status", "-n", "gatehouse-system", "deployment/gatehouse", "--timeout=5s")
		return err
	})
	eventually(t, "the Envoy is connected again", func() error {
		if got := envoyStat(t, "envoy_control_plane_connected_state"); got != "1" {
			return fmt.Errorf("connected_state %q", got)
		}
		return nil
	})
	time.Sleep(time.Second) // Whatever the new control plane sends comes right after the connection.
	end()
	if diff := cmp.Diff(before, envoyConfig(t)); diff != "" {
		t.Errorf("Envoy's configuration changed (-before +after):\n%s", diff)
	}
}

// TestAPIServerIsAway: while the API server does not answer for longer than the leader's lease holds, Envoys serve and
// the control plane goes on running; afterwards it writes status again.
func TestAPIServerIsAway(t *testing.T) {
	at := address(t, "default", "eg")
	answers(t, at, "www.example.com", "/", http.StatusOK)
	plane, _ := staying(t, controlPlane)
	restarts := func() string {
		out, err := kubectl("get", "pod", "-n", "gatehouse-system", plane, "-o",
			"jsonpath={.status.containerStatuses[0].restartCount}")
		return must(t, out, err)
	}
	before, end := restarts(), loads(t, at, "www.example.com")
	server := apiServer(t)
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(server, s); err != nil {
			t.Errorf("signal %v to the API server: %v", s, err)
		}
	}
	signal(syscall.SIGSTOP)
	time.Sleep(20 * time.Second) // The lease is for 15 s.
	signal(syscall.SIGCONT)
	s := newScene(t, "away")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("r", "away.example.com"))
	settles(t, address(t, s.namespace, "gw"), "GET away.example.com/", http.StatusOK)
	s.becomes(t, "gateway/gw", message(".status", "Programmed"), "1/1 envoy replicas available")
	end()
	if now := restarts(); now != before {
		t.Errorf("the control plane was restarted: %s times, then %s", before, now)
	}
}

// apiServer is the process of the cluster's API server.
func apiServer(t *testing.T) (pid int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		program, _, _ := strings.Cut(string(line), "\x00")
		if err != nil || filepath.Base(program) != "kube-apiserver" || !strings.Contains(string(line), dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatal("no process is the API server of the cluster")
	return 0
}

// TestBrokenConfigurationFile: a control plane that is given a configuration file with a mistake says where the mistake
// is and does not start, rather than run with half of it.
func TestBrokenConfigurationFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "gatehouse.yaml")
	for text, words := range map[string]string{
		"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\ngatway: {}\n":                       "gatway",
		"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\nprovider: {type: Kubernets}\n":      "Kubernets",
		"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\nlogging: {level: {default: lod}}\n": "lod",
		"kind: [":                     "gatehouse.yaml",
		"apiVersion: v1\nkind: Pod\n": "EnvoyGateway",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(filepath.Join(bin, "gatehouse"), "serve", "--config", file).CombinedOutput()
		if err == nil || !strings.Contains(string(out), words) || strings.Contains(string(out), "Usage:") {
			t.Errorf("%q: %v: %s", text, err, out)
		}
	}
}

// TestUpgradeToABrokenConfiguration: an upgrade to a configuration file that is wrong says which field and what to
// write, and the control plane that runs stays: Gateways go on being served and changed.
func TestUpgradeToABrokenConfiguration(t *testing.T) {
	helm := func(args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "helm"), append([]string{"-n", "gatehouse-system"}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"))
		out, err := cmd.CombinedOutput()
		must(t, string(out), err)
	}
	end := loads(t, address(t, "default", "eg"), "www.example.com")
	helm("upgrade", "gatehouse", filepath.Join(root, "manifests/gatehouse"), "--reuse-values", "--set",
		"config.envoyGateway.gateway.controllerNaem=example.com/x")
	t.Cleanup(func() { helm("rollback", "gatehouse", "--wait", "--timeout", "60s") })
	eventually(t, "the new pod says what is wrong", func() error {
		pods, err := kubectl("get", "pods", "-n", "gatehouse-system", "-l", controlPlane, "-o",
			`jsonpath={.items[?(@.status.containerStatuses[0].ready==false)].metadata.name}`)
		if err != nil || pods == "" {
			return fmt.Errorf("no pod that is not ready: %w", err)
		}
		out, err := kubectl("logs", "-n", "gatehouse-system", pods)
		if err != nil || !strings.Contains(out, `gateway.controllerNaem`) || !strings.Contains(out, "controllerName") {
			return fmt.Errorf("its log names neither the field nor those there are: %s %w", out, err)
		}
		return nil
	})
	s := newScene(t, "meanwhile")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("r", "meanwhile.example.com"))
	settles(t, address(t, s.namespace, "gw"), "GET meanwhile.example.com/", http.StatusOK)
	end()
}

// TestReleaseCannotBeBroken: what tests use to break things on purpose is not in the program that is installed.
func TestReleaseCannotBeBroken(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile(filepath.Join(bin, "gatehouse"))
	if err != nil || !strings.Contains(string(program), "gatehouse.dev/admission") {
		t.Fatalf("bin/gatehouse cannot be searched: %v", err)
	}
	if strings.Contains(string(program), "debug.gatehouse.dev") {
		t.Error("bin/gatehouse was built with the tag gatehousedebug")
	}
}

// TestDebugPages: a person at night finds out what the control plane made of an object, and what the Envoys have.
func TestDebugPages(t *testing.T) {
	t.Parallel()
	answers(t, address(t, "default", "eg"), "www.example.com", "/", http.StatusOK)
	for path, want := range map[string]string{
		"tables/route%20statuses/HTTPRoute/default/backend": "routes[HTTPRoute/default/backend]",
		"batches": "route statuses",
		"proxies": "RouteConfiguration",
	} {
		out, err := kubectl("exec", "-n", "gatehouse-system", "deployment/gatehouse", "--", "curl", "-s",
			"http://127.0.0.1:19000/"+path)
		if must(t, out, err); !strings.Contains(out, want) {
			t.Errorf("%s lacks %q:\n%s", path, want, out)
		}
	}
}
