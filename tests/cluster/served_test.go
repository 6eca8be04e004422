package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.example.com/echo-basic:v1
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 3000}
  - {name: closed, port: 81, targetPort: 3999}
`

// A Service is reached from an ordinary shell and from inside, and its closed port refuses in both places.
func TestLoadBalancerIsReachedFromTheHost(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"kubectl", "echo-basic"} {
		if _, err := os.Stat(filepath.Join(binaries(t), name)); err != nil {
			t.Skipf("there is no bin/%s; build it with tests/cluster/build.sh", name)
		}
	}
	c.must("up")
	apply := exec.Command(filepath.Join(binaries(t), "kubectl"), "--kubeconfig", layout{dir: c.dir}.kubeconfig(), "apply",
		"-f", "-")
	apply.Stdin = strings.NewReader(web)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}

	waitFor(t, "port 80 of Service web is published", func() bool {
		balancers := c.state().LoadBalancers
		return len(balancers) == 1 && len(balancers[0].Ports) == 2 && balancers[0].Ports[0].Open
	})
	balancer := c.state().LoadBalancers[0]
	open, closed := netip.AddrPortFrom(balancer.Loopback, 80), netip.AddrPortFrom(balancer.Loopback, 81)
	if body := get(t, "http://"+open.String()+"/hello"); !strings.Contains(body, `"path": "/hello"`) {
		t.Errorf("the echo server answered\n%s", body)
	}
	if _, err := net.DialTimeout("tcp4", closed.String(), time.Second); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the closed port: %v, want connection refused", err)
	}
	if out := c.must("status"); !strings.Contains(out, balancer.Address.String()) ||
		!strings.Contains(out, balancer.Loopback.String()) || !strings.Contains(out, "81 (closed)") {
		t.Errorf("status printed\n%s", out)
	}
	// curl is not on every machine, but this test is.
	inside := "http://" + balancer.Address.String() + "/inside"
	out := c.must("exec", "--", os.Args[0], "-test.run=^TestInside$", "-test.v", "-test.timeout=30s", "http://web/by-name",
		inside)
	if !strings.Contains(out, `"path": "/inside"`) || !strings.Contains(out, `"path": "/by-name"`) {
		t.Errorf("from inside:\n%s", out)
	}

	client := c.client()
	if out := podLogs(c, client); !strings.Contains(out, "/hello to client") ||
		!strings.Contains(out, "/by-name to client") {
		t.Errorf("logs of both pods:\n%s", out)
	}
	if err := client.CoreV1().Services("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the deleted Service refuses connections", func() bool {
		connection, err := net.DialTimeout("tcp4", open.String(), time.Second)
		if err == nil {
			connection.Close()
		}
		return errors.Is(err, unix.ECONNREFUSED)
	})
}

// TestInside is what the test above runs inside the cluster, with URLs to fetch as arguments.
func TestInside(t *testing.T) {
	for _, arg := range os.Args {
		if strings.HasPrefix(arg, "http://") {
			t.Log(get(t, arg))
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func podLogs(c testCluster, client kubernetes.Interface) string {
	c.Helper()
	pods, err := client.CoreV1().Pods("default").List(c.Context(), metav1.ListOptions{})
	if err != nil {
		c.Fatal(err)
	}
	var all strings.Builder
	for _, pod := range pods.Items {
		all.WriteString(c.must("logs", pod.Name))
	}
	return all.String()
}
