package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"gatehouse/tests/cluster/node/isolated"
	"gatehouse/tests/cluster/node/service"
)

// echo returns a pod that runs the conformance suite's echo server on port 3000.
func echo(name, app string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "echo", Image: "registry.k8s.io/echo-basic:v1",
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 3000}},
			Env: []corev1.EnvVar{
				{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
				{Name: "NAMESPACE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}},
			},
			ReadinessProbe: &corev1.Probe{
				PeriodSeconds: 1,
				ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}},
			},
		}}},
	}
}

func (c *testCluster) service(name string, spec corev1.ServiceSpec) *corev1.Service {
	c.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
	made, err := c.client.CoreV1().Services(c.namespace).Create(c.Context(), s, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return made
}

func get(url string) (string, error) {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	return string(body), errors.Join(err, response.Body.Close())
}

// at returns the URL of an address.
func at(address string) string {
	if strings.Contains(address, ":") {
		return "http://[" + address + "]"
	}
	return "http://" + address
}

func TestServices(t *testing.T) {
	c := cluster(t)
	both := corev1.IPFamilyPolicyPreferDualStack
	external := []string{"192.0.2.7", "2001:db8::7"}
	s := c.service("web", corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "web"}, ExternalIPs: external,
		IPFamilyPolicy: &both,
		Ports: []corev1.ServicePort{
			{Name: "http", Port: 80, TargetPort: intstr.FromString("http")},
			{Name: "closed", Port: 81, TargetPort: intstr.FromInt32(4000)},
		},
	})
	var balancers []corev1.LoadBalancerIngress
	c.eventually("an address of each family", func() bool {
		s, err := c.client.CoreV1().Services(c.namespace).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			return false
		}
		balancers = s.Status.LoadBalancer.Ingress
		return len(balancers) == len(isolated.Families)
	})
	for _, b := range balancers {
		begin := time.Now()
		_, err := get(at(b.IP))
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Since(begin) > time.Second {
			t.Errorf("without endpoints: %v after %v, want an immediate refusal", err, time.Since(begin))
		}
	}
	c.create(echo("web-0", "web"))
	c.create(echo("web-1", "web"))
	c.await("web-0", "ready", isReady)
	c.await("web-1", "ready", isReady)
	addresses := map[string]string{}
	for i := range isolated.Families {
		addresses["cluster IP "+s.Spec.ClusterIPs[i]] = s.Spec.ClusterIPs[i]
		addresses["load balancer "+balancers[i].IP] = balancers[i].IP
		addresses["external IP "+external[i]] = external[i]
	}
	for name, address := range addresses {
		seen := map[string]bool{}
		c.eventually("both pods to answer on the "+name, func() bool {
			body, err := get(at(address) + "/hello")
			for _, pod := range []string{"web-0", "web-1"} {
				if strings.Contains(body, fmt.Sprintf("%q: %q", "pod", pod)) {
					seen[pod] = true
				}
			}
			return err == nil && len(seen) == 2
		})
		for _, port := range []string{"81", "82"} {
			if _, err := get("http://" + net.JoinHostPort(address, port)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s, closed port %s: %v, want a refusal", name, port, err)
			}
		}
	}
	c.delete("web-1")
	c.eventually("requests to stop going to the deleted pod", func() bool {
		for range 20 {
			if body, err := get(at(balancers[len(balancers)-1].IP)); err != nil || !strings.Contains(body, "web-0") {
				return false
			}
		}
		return true
	})
}

// fetch is a script that gets each URL with the pod's token and CA certificate.
const fetch = `
import ssl, sys, time, urllib.request, urllib.error, socket
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
def get(url):
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + open(account + "token").read()})
    return urllib.request.urlopen(request, timeout=2, context=ssl.create_default_context(cafile=account + "ca.crt")).read().decode()
for url in sys.argv[1:]:
    for attempt in range(100):
        try:
            print(get(url), flush=True)
            break
        except urllib.error.URLError as e:
            if isinstance(e.reason, socket.gaierror):
                print("no such name", flush=True)
                break
            if url.endswith(":81") and isinstance(e.reason, ConnectionRefusedError):
                print("refused", flush=True)
                break
            reason = e.reason
            time.sleep(0.05)
    else:
        print("Error", url, reason, flush=True)
`

// serve is a script that answers every request on port 80 with the client's address.
const serve = `
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].removeprefix("::ffff:").encode())
http.server.ThreadingHTTPServer(("", 80), H).serve_forever()
`

// python returns a container that runs a script.
func python(name, script string, args ...string) corev1.Container {
	return corev1.Container{Name: name, Image: "bash", Command: append([]string{"python3", "-c", script}, args...)}
}

func TestPodsReachServicesByName(t *testing.T) {
	c := cluster(t)
	c.service("site", corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"},
		Ports:    []corev1.ServicePort{{Name: "http", Port: 80}},
	})
	c.service("site-headless", corev1.ServiceSpec{
		ClusterIP: corev1.ClusterIPNone,
		Selector:  map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
	})
	sites, gateways := []string{"http://site"}, "10.244.0.1\n"
	listen := serve
	if len(isolated.Families) > 1 {
		ports := []corev1.ServicePort{{Name: "http", Port: 80}}
		c.service("site6", corev1.ServiceSpec{
			IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol},
			Selector:   map[string]string{"app": "web"}, Ports: ports,
		})
		sites, gateways = append(sites, "http://site6"), gateways+"fd00:10:244::1\n"
		listen = "import socket, http.server\nhttp.server.ThreadingHTTPServer.address_family = socket.AF_INET6\n" + serve
	}
	server := shell("web", "")
	server.Spec.Containers = []corev1.Container{
		python("server", listen),
		python("self", fetch+"time.sleep(1000)", sites...),
	}
	server.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		PeriodSeconds: 1,
		ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}},
	}
	c.create(server)
	c.await("web", "ready", isReady)
	c.eventually("the pod to reach itself through its Services", func() bool {
		return c.logs("web", corev1.PodLogOptions{Container: "self"}) == gateways
	})
	client := shell("client", "")
	client.Spec.Containers[0] = python("main", fetch, "http://site", "http://site."+c.namespace, "http://site.absent",
		"http://site:81", "http://site-headless."+c.namespace+".svc.cluster.local", "https://kubernetes.default.svc/version")
	c.create(client)
	address := c.await("client", "over", isOver).Status.PodIP + "\n"
	if got := c.logs("client", corev1.PodLogOptions{}); !strings.HasPrefix(got,
		address+address+"no such name\nrefused\n"+address) || !strings.Contains(got, `"major": "1"`) {
		t.Errorf("the client got %s", got)
	}
}

func TestUDP(t *testing.T) {
	for _, f := range isolated.Families {
		family := corev1.IPFamily(service.KindOf(f.Gateway))
		t.Run(string(family), func(t *testing.T) { answersByUDP(t, family) })
	}
}

func answersByUDP(t *testing.T, family corev1.IPFamily) {
	c := cluster(t)
	s := c.service("dns", corev1.ServiceSpec{
		IPFamilies: []corev1.IPFamily{family},
		Selector:   map[string]string{"app": "udp"}, Ports: []corev1.ServicePort{{
			Port: 53, TargetPort: intstr.FromInt32(8080),
			Protocol: corev1.ProtocolUDP,
		}},
	})
	conn, err := net.Dial("udp", net.JoinHostPort(s.Spec.ClusterIP, "53"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ask := func() (string, error) {
		if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
			return "", err
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			return "", err
		}
		answer := make([]byte, 1000)
		n, err := conn.Read(answer)
		return string(answer[:n]), err
	}
	for range 3 {
		// Of a local client's packets the kernel refuses some at once and some by a message.
		if _, err := ask(); !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EPERM) {
			t.Errorf("without endpoints: %v, want a refusal", err)
		}
	}
	for _, name := range []string{"one", "two"} { // The client keeps its socket, and so its flow, throughout.
		pod := echo(name, "udp")
		pod.Spec.Containers[0].ReadinessProbe = nil
		pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: "UDP_ECHO_SERVER", Value: "1"})
		c.create(pod)
		c.eventually("an answer of pod "+name, func() bool {
			answer, err := ask()
			return err == nil && strings.Contains(answer, name)
		})
		c.delete(name)
	}
}

func TestUpdatesLoseNoConnection(t *testing.T) {
	c := cluster(t)
	var endpoints []discoveryv1.Endpoint
	for i := range 3 {
		name := fmt.Sprintf("web-%d", i)
		c.create(echo(name, "web"))
		pod := c.await(name, "ready", isReady)
		endpoints = append(endpoints, discoveryv1.Endpoint{Addresses: []string{pod.Status.PodIP}})
	}
	port := corev1.ServicePort{Name: "http", Port: 80}
	s := c.service("web", corev1.ServiceSpec{Ports: []corev1.ServicePort{port}})
	slices := c.client.DiscoveryV1().EndpointSlices(c.namespace)
	slice, err := slices.Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: &port.Name, Port: ptr(int32(3000))}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + s.Spec.ClusterIP
	c.eventually("an answer", func() bool { _, err := get(url); return err == nil })
	var asked, failed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				asked.Add(1)
				if _, err := get(url); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			}
		})
	}
	for i := range 200 { // One, two or all three endpoints, each time others.
		slice.Endpoints = endpoints[i%2 : 1+i%3]
		if len(slice.Endpoints) == 0 {
			slice.Endpoints = endpoints[:1]
		}
		if slice, err = slices.Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	clients.Wait()
	t.Logf("%d requests during 200 updates", asked.Load())
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
}
