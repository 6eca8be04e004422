package withenvoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// further is an EndpointSlice with one more endpoint for a Service of behind or service.
func (c *translated) further(service, port string, number int) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: c.meta(fmt.Sprintf("%s-further-%d", service, number)), AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: &port, Port: new(int32(number))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	return slice
}

// refusing is a port without a listener.
func refusing(t *testing.T) int {
	t.Helper()
	listener := listen(t)
	_ = listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// silent is a port that answers no SYN, like a pod that is gone: its accept queue is full.
func silent(t *testing.T) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := name.(*syscall.SockaddrInet4).Port
	waiting, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = waiting.Close() })
	return port
}

// retrying is a policy of a route with this number of retries.
func (c *translated) retrying(kind gwapiv1.Kind, route gwapiv1.ObjectName,
	retries int32,
) *v1alpha1.BackendTrafficPolicy {
	p := &v1alpha1.BackendTrafficPolicy{ObjectMeta: c.meta(string(route))}
	p.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{Group: gwapiv1.GroupName, Kind: kind, Name: route},
	}}
	p.Spec.Retry = &v1alpha1.Retry{NumRetries: &retries}
	return p
}

// TestUnreachedRequestsGoElsewhere tests a backend with mostly dead endpoints: no request fails because of them, for
// any kind of route, until the route or a policy switches retries off.
func TestUnreachedRequestsGoElsewhere(t *testing.T) {
	c := startTranslated(t, false)
	var got atomic.Int32
	c.apply(c.behind("pods", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Add(1)
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))...)
	route := c.route("a.example.com", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "pods"
	c.apply(route)
	c.reaches("/")
	c.apply(c.further("pods", "http", refusing(t)), c.further("pods", "http", refusing(t)))
	c.quiet()

	// failures posts bodies of the maximum length that Envoy keeps for a retry, and counts requests without a response.
	failures := func() (failed int) {
		t.Helper()
		body := strings.Repeat("x", 16<<10)
		before := got.Load()
		for range 60 {
			request, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/", proxyPort),
				strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			request.Host = "a.example.com"
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			echoed, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				failed++
			} else if string(echoed) != body {
				t.Errorf("a body of %d bytes arrived with %d", len(body), len(echoed))
			}
		}
		if reached := int(got.Load() - before); reached != 60-failed {
			t.Errorf("%d requests, of which %d failed, reached the backend %d times", 60, failed, reached)
		}
		return failed
	}
	if n := failures(); n > 0 {
		t.Errorf("%d of 60 requests failed, by default", n)
	}
	policy := c.retrying("HTTPRoute", "a.example.com", 0)
	c.apply(policy)
	envoytest.WaitFor(t, "a policy to switch retries off", func() bool { return failures() > 0 })
	c.delete(policy)
	envoytest.WaitFor(t, "retries to be there again", func() bool { return failures() == 0 })
	route = route.DeepCopy()
	route.Generation = c.meta("").Generation
	route.Spec.Rules[0].Retry = &gwapiv1.HTTPRouteRetry{Attempts: new(0)}
	c.apply(route)
	envoytest.WaitFor(t, "the route to switch retries off", func() bool { return failures() > 0 })
}

// TestSafeRequestsAreRepeated lets one of two endpoints close each connection after it has read the request. Nobody
// knows whether the request was processed, so only safe methods are tried elsewhere, and none if a policy says which
// failures are tried again.
func TestSafeRequestsAreRepeated(t *testing.T) {
	c := startTranslated(t, false)
	var aborted atomic.Int32
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Envoy-Retry-On"))
	})
	c.apply(c.behind("pods", answer, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		aborted.Add(1)
		panic(http.ErrAbortHandler)
	}))...)
	route := c.route("a.example.com", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "pods"
	c.apply(route)
	c.reaches("/")
	failures := func(method string) (failed int) {
		t.Helper()
		before := aborted.Load()
		for range 40 {
			response := exchange(t, method, "/")
			if response.StatusCode != http.StatusOK {
				failed++
			} else if leaked := content(response); leaked != "" {
				t.Fatalf("the backend is told %q", leaked)
			}
		}
		if aborted.Load() == before {
			t.Errorf("no %s met the endpoint that closes its connections", method)
		}
		return failed
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
		if n := failures(method); n > 0 {
			t.Errorf("%d of 40 requests by %s failed", n, method)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		before := aborted.Load()
		if n := failures(method); n != int(aborted.Load()-before) {
			t.Errorf("%d requests by %s failed, and %d were aborted", n, method, aborted.Load()-before)
		}
	}
	policy := c.retrying("HTTPRoute", "a.example.com", 2)
	policy.Spec.Retry.RetryOn = &v1alpha1.RetryOn{Triggers: []v1alpha1.TriggerEnum{v1alpha1.ConnectFailure}}
	c.apply(policy)
	envoytest.WaitFor(t, "a policy to leave broken connections alone", func() bool { return failures(http.MethodGet) > 0 })
}

// TestSilentEndpointsCostOneAttempt tests an endpoint that does not answer, like that of a pod whose node is gone:
// requests go elsewhere long before the client gives up after 5s.
func TestSilentEndpointsCostOneAttempt(t *testing.T) {
	c := startTranslated(t, false)
	c.apply(c.behind("pods", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))...)
	route := c.route("a.example.com", nil)
	route.Spec.Rules[0].BackendRefs[0].Name = "pods"
	c.apply(route)
	c.reaches("/")
	c.apply(c.further("pods", "http", silent(t)))
	c.quiet()
	for c.stat("cluster.service/shop/pods/80.upstream_cx_connect_timeout") < 2 {
		if code := exchange(t, http.MethodGet, "/").StatusCode; code != http.StatusOK {
			t.Fatalf("a request is answered %d", code)
		}
	}
}

// TestConnectionsGoElsewhere tests a TCP backend with half of its endpoints dead.
func TestConnectionsGoElsewhere(t *testing.T) {
	m := &translated{generation: 100}
	gateway := m.gateway(false)
	gateway.Spec.Listeners = []gwapiv1.Listener{{Name: "tcp", Protocol: gwapiv1.TCPProtocolType, Port: 9000}}
	objects := []translator.Object{gateway, m.tcpRoute("tcp", toService("tcp", 1))}
	objects = append(objects, m.service("tcp", corev1.ProtocolTCP, speaker(t, listen(t), "tcp"))...)
	c := startTranslated(t, false, objects...)
	c.generation = 1000
	envoytest.WaitFor(t, "a connection", func() bool { return heard(9000, "", nil) == "tcp" })
	c.apply(c.further("tcp", "", refusing(t)))
	envoytest.WaitFor(t, "the dead endpoint",
		func() bool { return c.stat("cluster.service/shop/tcp/7.membership_total") == 2 })
	failures := func() (failed int) {
		for range 100 {
			if heard(9000, "", nil) != "tcp" {
				failed++
			}
		}
		return failed
	}
	byDefault := failures() // Envoy chooses again for each attempt: 1 of 16 connections reaches only the dead endpoint.
	c.apply(c.retrying("TCPRoute", "tcp", 0))
	without := 0
	envoytest.WaitFor(t, "a policy to switch further attempts off",
		func() bool { without = failures(); return without > 25 })
	if byDefault*2 > without {
		t.Errorf("of 100 connections %d failed by default, and %d without further attempts", byDefault, without)
	}
}
