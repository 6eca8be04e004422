package node

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"gatehouse/tests/cluster/node/isolated"
)

// The tests of this package run pods on a node with a real API server. All share one cluster, which is started by the
// first that needs it; each has a Kubernetes namespace of its own.

func TestMain(m *testing.M) { isolated.Main(m) }

// testCluster is a running API server, controller manager and node.
type testCluster struct {
	*testing.T
	client    kubernetes.Interface
	namespace string
}

var shared struct {
	sync.Mutex
	client kubernetes.Interface
	config *rest.Config
	err    error
}

// cluster returns the cluster, with a new namespace that is ready for pods.
func cluster(t *testing.T) *testCluster {
	t.Helper()
	isolated.Need(t)
	bin, err := filepath.Abs(cmp.Or(os.Getenv("BIN"), "../../../bin")) // As build.sh has it.
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "echo-basic"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Skipf("needs the cluster's binaries, which `make run` builds: %v", err)
		}
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.client == nil && shared.err == nil {
		shared.client, shared.err = startCluster(bin)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: strings.ToLower(strings.ReplaceAll(t.Name(),
		"/", "-")) + "-"}}
	namespace, err = shared.client.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{T: t, client: shared.client, namespace: namespace.Name}
	c.eventually("the default service account", func() bool {
		_, err := c.client.CoreV1().ServiceAccounts(c.namespace).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	c.eventually("the CA certificate", func() bool {
		_, err := c.client.CoreV1().ConfigMaps(c.namespace).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil
	})
	return c
}

// startCluster starts everything. The processes end with the test process, which is PID 1 of their process namespace.
func startCluster(bin string) (kubernetes.Interface, error) {
	dir, err := os.MkdirTemp("", "node-test-")
	if err != nil {
		return nil, err
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(defaultRoute(), writeKey(path("sa.key")),
		os.WriteFile(path("tokens.csv"), []byte("secret,admin,admin,system:masters\n"), 0o600)); err != nil {
		return nil, err
	}
	start := func(name string, args ...string) error {
		log, err := os.Create(path(name + ".log"))
		if err != nil {
			return err
		}
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		return cmd.Start()
	}
	gateway, services := isolated.Families[0].Gateway.String(), []string{}
	for _, f := range isolated.Families {
		services = append(services, f.Services.String())
	}
	server := "https://" + gateway + ":6443"
	err = errors.Join(
		start("etcd", "--data-dir", path("etcd"), "--listen-client-urls=http://127.0.0.1:2379",
			"--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync"),
		start("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=sa.key",
			"--service-account-signing-key-file=sa.key", "--service-cluster-ip-range="+strings.Join(services, ","),
			"--token-auth-file=tokens.csv", "--authorization-mode=RBAC", "--cert-dir="+dir,
			"--secure-port=6443", "--bind-address="+gateway, "--advertise-address="+gateway, "--allow-privileged",
			"--kubelet-preferred-address-types=InternalIP"),
	)
	if err != nil {
		return nil, err
	}
	kubeconfig := path("kubeconfig")
	content := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]\nusers: [{name: u, user: {token: secret}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n", server, path("apiserver.crt"))
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		return nil, err
	}
	client, err := waitForServer(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%w; see %s", err, path("kube-apiserver.log"))
	}
	if err := start("kube-controller-manager", "--kubeconfig="+kubeconfig, "--root-ca-file=apiserver.crt",
		"--service-account-private-key-file=sa.key", "--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400",
		"--secure-port=0",
		"--controllers=deployment-controller,replicaset-controller,daemonset-controller,endpointslice-controller,namespace-controller,serviceaccount-controller,garbage-collector-controller,root-ca-certificate-publisher-controller"); err != nil {
		return nil, err
	}
	go runNode(kubeconfig, dir, bin)
	return client, nil
}

func runNode(kubeconfig, dir, bin string) {
	log, err := os.Create(filepath.Join(dir, "node.log"))
	if err != nil {
		panic(err)
	}
	c := Config{
		Kubeconfig: kubeconfig, Dir: filepath.Join(dir, "node"), Families: isolated.Families,
		Images:        map[string]string{"echo*": filepath.Join(bin, "echo-basic"), "bash": "/bin/bash"},
		ClusterDomain: "cluster.local", Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if err := Run(context.Background(), c); err != nil {
		panic(err)
	}
}

func waitForServer(kubeconfig string) (kubernetes.Interface, error) {
	var last error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, last = os.Stat(filepath.Join(filepath.Dir(kubeconfig), "apiserver.crt")); last != nil {
			continue // The server has not made its certificate yet.
		}
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, err
		}
		config.QPS = -1
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		shared.config = config
		if _, last = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(context.Background()); last == nil {
			return client, nil
		}
	}
	return nil, fmt.Errorf("the API server does not become ready: %w", last)
}

// defaultRoute gives the namespace a default route, which the API server wants to see.
func defaultRoute() error {
	if err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "outside"},
		PeerName:  "nobody",
	}); err != nil {
		return err
	}
	index := 0
	for _, name := range []string{"nobody", "outside"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		index = link.Attrs().Index
	}
	return netlink.RouteAdd(&netlink.Route{
		LinkIndex: index, Scope: netlink.SCOPE_LINK,
		Src: isolated.Families[0].Gateway.AsSlice(),
	})
}

func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func (c *testCluster) eventually(what string, ok func() bool) {
	c.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("timed out waiting for %s", what)
		}
	}
}

// create creates a pod and returns it.
func (c *testCluster) create(pod *corev1.Pod) *corev1.Pod {
	c.Helper()
	made, err := c.client.CoreV1().Pods(c.namespace).Create(c.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return made
}

// await returns the pod as soon as ok holds for it, and prints its last status if that does not happen.
func (c *testCluster) await(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	c.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		pod, err := c.client.CoreV1().Pods(c.namespace).Get(c.Context(), name, metav1.GetOptions{})
		if err == nil && ok(pod) {
			return pod
		}
		if time.Now().After(deadline) {
			c.Fatalf("timed out waiting for pod %s to be %s: %v\n%v", name, what, err, pod.Status)
		}
	}
}

func (c *testCluster) logs(pod string, o corev1.PodLogOptions) string {
	c.Helper()
	text, err := c.client.CoreV1().Pods(c.namespace).GetLogs(pod, &o).DoRaw(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	return string(text)
}

func (c *testCluster) delete(pod string) {
	c.Helper()
	if err := c.client.CoreV1().Pods(c.namespace).Delete(c.Context(), pod, metav1.DeleteOptions{}); err != nil {
		c.Fatal(err)
	}
	c.eventually("the pod to be gone", func() bool {
		_, err := c.client.CoreV1().Pods(c.namespace).Get(c.Context(), pod, metav1.GetOptions{})
		return err != nil
	})
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func isOver(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// shell returns a pod of one container that runs a script.
func shell(name, script string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "main", Image: "bash", Args: []string{"-c", script}}},
		},
	}
}
