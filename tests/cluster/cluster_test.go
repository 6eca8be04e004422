package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// program is this command, built once for all tests.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cluster-test")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "cluster")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the command: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func TestUpServesAndDownLeavesNothing(t *testing.T) {
	c := newCluster(t)
	links, mounts := hostLinks(t), hostMounts(t)

	out := c.must("up")
	if want := "export KUBECONFIG=" + c.dir + "/kubeconfig\n"; !strings.HasSuffix(out, want) {
		t.Errorf("up printed\n%s\nwant the end %q", out, want)
	}
	if out := c.must("up", "--quiet"); out != "export KUBECONFIG="+c.dir+"/kubeconfig\n" {
		t.Errorf("a second up --quiet printed %q", out)
	}
	client := c.client()
	if _, err := client.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	if !nodeReady(client)(t.Context()) {
		t.Error("no node is ready")
	}
	if out := c.must("status"); !strings.Contains(out, "cluster:     ready") ||
		!strings.Contains(out, c.dir+"/kubeconfig") {
		t.Errorf("status printed\n%s", out)
	}
	if diff := cmp.Diff(links, hostLinks(t)); diff != "" {
		t.Errorf("links of the host (-before +while up):\n%s", diff)
	}
	namespace, api := c.namespace(), c.state().API

	if out := c.must("down"); !strings.Contains(out, "the cluster is down") {
		t.Errorf("down printed %q", out)
	}
	c.gone(namespace)
	if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory after down: %v", err)
	}
	if diff := cmp.Diff(mounts, hostMounts(t)); diff != "" {
		t.Errorf("mounts of the host (-before +after):\n%s", diff)
	}
	if _, err := net.DialTimeout("tcp4", strings.TrimPrefix(api, "https://"), time.Second); !errors.Is(err,
		unix.ECONNREFUSED) {
		t.Errorf("dialling the API server after down: %v, want connection refused", err)
	}
	c.must("down") // Twice is not an error.
}

func TestExec(t *testing.T) {
	c := newCluster(t)
	c.must("up", "--without-node")
	for name, test := range map[string]struct {
		script, want string
	}{
		"network":     {"cat /proc/net/fib_trie", "|-- 10.244.0.1\n"},
		"names":       {"cat /etc/resolv.conf", "nameserver 10.244.0.1\n"},
		"kubeconfig":  {"grep server: $KUBECONFIG", "https://10.244.0.1:6443"},
		"no proxy":    {"echo proxy=$HTTPS_PROXY$https_proxy.", "proxy=.\n"},
		"environment": {"echo $KEPT", "as it was\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
			t.Setenv("KEPT", "as it was")
			if out := c.must("exec", "--", "sh", "-c", test.script); !strings.Contains(out, test.want) {
				t.Errorf("got\n%s\nwant %q in it", out, test.want)
			}
		})
	}
	var exit *exec.ExitError
	if err := c.command("exec", "--", "sh", "-c", "exit 7").Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exit 7 ends with %v", err)
	}
	mounts := hostMounts(t)
	if out := c.must("exec", "--", "cat", "/proc/self/mounts"); !strings.Contains(out, "/etc/resolv.conf") {
		t.Errorf("the command sees no resolv.conf of the cluster:\n%s", out)
	}
	if diff := cmp.Diff(mounts, hostMounts(t)); diff != "" {
		t.Errorf("mounts of the host (-before +after):\n%s", diff)
	}
}

// A supervisor that is killed takes every process along; the next up removes what is left and what exec started.
func TestUpCleansUpAfterACrash(t *testing.T) {
	c := newCluster(t)
	c.must("up", "--without-node")
	namespace := c.namespace()
	visitor := c.command("exec", "--", "sleep", "1000")
	if err := visitor.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- visitor.Wait() }()
	waitFor(t, "exec has entered the cluster", func() bool { return strings.Contains(processes(namespace), "sleep") })
	if _, err := c.client().CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "before"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	s, _, err := findSupervisor(layout{dir: c.dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(s.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "only the visitor is left", func() bool { return strings.TrimSpace(processes(namespace)) == "sleep 1000" })
	if out, err := c.run("status"); err == nil || !strings.Contains(out, "crashed") {
		t.Errorf("status after a crash: %v\n%s", err, out)
	}

	if out := c.must("up", "--without-node"); !strings.Contains(out, "cleaning up") {
		t.Errorf("up after a crash printed\n%s", out)
	}
	<-ended
	c.gone(namespace)
	if _, err := c.client().CoreV1().Namespaces().Get(t.Context(), "before", metav1.GetOptions{}); err == nil {
		t.Error("the cluster after the crash has an object of the one before")
	}
}

func TestProcessThatEndsIsStartedAgain(t *testing.T) {
	c := newCluster(t)
	c.must("up", "--without-node")
	c.must("exec", "--", "sh", "-c", `for p in /proc/[0-9]*; do
		[ "$(readlink $p/ns/net)" = "$(readlink /proc/self/ns/net)" ] && grep -q '^kube-controller' $p/comm && kill -9 ${p#/proc/}
	done; true`)
	waitFor(t, "status tells of the restart", func() bool {
		return strings.Contains(c.must("status"), "restarted:   kube-controller-manager, 1 times")
	})
	if _, err := c.client().CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "after"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the controllers work again", func() bool {
		_, err := c.client().CoreV1().ServiceAccounts("after").Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
}

func TestTwoSideBySide(t *testing.T) {
	one, two := newCluster(t), newCluster(t)
	one.must("up", "--without-node")
	two.must("up", "--without-node")
	if one.state().API == two.state().API {
		t.Fatalf("both API servers are at %s", one.state().API)
	}
	if _, err := one.client().CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "only-one"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := two.client().CoreV1().Namespaces().Get(t.Context(), "only-one", metav1.GetOptions{}); err == nil {
		t.Error("a namespace of one cluster is in the other")
	}
	one.must("down")
	if _, err := two.client().CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Errorf("one cluster after the other is down: %v", err)
	}
}

// testCluster is a cluster in a directory of its own; the test takes it down.
type testCluster struct {
	*testing.T
	dir string
}

func newCluster(t *testing.T) testCluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a cluster needs root")
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if _, err := os.Stat(filepath.Join(binaries(t), name)); err != nil {
			t.Skipf("there is no bin/%s; build it with tests/cluster/build.sh", name)
		}
	}
	c := testCluster{T: t, dir: filepath.Join(t.TempDir(), "cluster")}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(layout{dir: c.dir}.log("supervisor"))
			t.Logf("supervisor.log:\n%s", log)
		}
		if out, err := c.run("down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	return c
}

func binaries(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (c testCluster) command(args ...string) *exec.Cmd {
	if args[0] == "up" {
		args = append([]string{"up", "--bin", binaries(c.T)}, args[1:]...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	c.Cleanup(cancel)
	return exec.CommandContext(ctx, program, append([]string{"--dir", c.dir}, args...)...)
}

func (c testCluster) run(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := c.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (c testCluster) must(args ...string) string {
	c.Helper()
	out, err := c.run(args...)
	if err != nil {
		c.Fatalf("cluster %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c testCluster) client() kubernetes.Interface {
	c.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", layout{dir: c.dir}.kubeconfig())
	if err != nil {
		c.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.Fatal(err)
	}
	return client
}

func (c testCluster) state() state {
	c.Helper()
	s, err := readState(layout{dir: c.dir})
	if err != nil {
		c.Fatal(err)
	}
	return s
}

// namespace names the cluster's network namespace. It holds the namespace until the test ends: the name is a number
// that the kernel gives to another one as soon as this one is gone, such as to a pod of a test that runs beside this
// one.
func (c testCluster) namespace() string {
	c.Helper()
	s, _, err := findSupervisor(layout{dir: c.dir})
	if err != nil {
		c.Fatal(err)
	}
	link := fmt.Sprintf("/proc/%d/ns/net", s.PID)
	held, err := os.Open(link)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { held.Close() })
	name, err := os.Readlink(link)
	if err != nil {
		c.Fatal(err)
	}
	if ours, err := os.Readlink("/proc/self/ns/net"); err != nil || ours == name {
		c.Fatalf("the supervisor shows the network namespace of this machine, %s: %v", ours, err)
	}
	return name
}

// gone fails the test when a process is left in the network namespace, without which it cannot last.
func (c testCluster) gone(namespace string) {
	c.Helper()
	if left := processes(namespace); left != "" {
		c.Errorf("processes left in the cluster's network namespace:\n%s", left)
	}
}

// processes lists the command lines of what runs in a network namespace.
func processes(namespace string) string {
	var lines strings.Builder
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		if name, err := os.Readlink(link); err != nil || name != namespace {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(link)), "cmdline"))
		if err == nil && len(line) > 0 {
			fmt.Fprintf(&lines, "%s\n", strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	return lines.String()
}

func hostLinks(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, link := range links {
		names = append(names, link.Attrs().Name)
	}
	return names
}

func hostMounts(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return string(mounts)
}

func waitFor(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reached within 30 s: %s", what)
		}
	}
}
