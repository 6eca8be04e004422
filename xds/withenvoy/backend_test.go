package withenvoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"unsafe"

	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// outside is an address of this network that is not a loopback address: Backends may not have those.
const outside = "192.0.2.1"

// haveOutside gives the tests' own network, see envoytest.Isolate, the address.
func haveOutside(t *testing.T) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	request := struct {
		name    [syscall.IFNAMSIZ]byte
		address syscall.RawSockaddrInet4
		_       [8]byte
	}{address: syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: [4]byte(net.ParseIP(outside).To4())}}
	copy(request.name[:], "lo:outside")
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFADDR, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		t.Fatalf("giving the loopback interface another address: %v", errno)
	}
}

// listing is a Backend with an endpoint for each handler, which may be spoken to in HTTP/1.1 and HTTP/2.
func (c *translated) listing(name string, handlers ...http.HandlerFunc) *v1alpha1.Backend {
	c.t.Helper()
	b := &v1alpha1.Backend{ObjectMeta: c.meta(name)}
	for _, h := range handlers {
		listener, err := net.Listen("tcp", outside+":0")
		if err != nil {
			c.t.Fatal(err)
		}
		server := &http.Server{Handler: h, Protocols: new(http.Protocols)}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetUnencryptedHTTP2(true)
		c.t.Cleanup(func() { _ = server.Close() })
		go func() { _ = server.Serve(listener) }()
		b.Spec.Endpoints = append(b.Spec.Endpoints, v1alpha1.BackendEndpoint{
			IP: &v1alpha1.IPEndpoint{Address: outside, Port: int32(listener.Addr().(*net.TCPAddr).Port)},
		})
	}
	return b
}

// toListing is a backendRef to a Backend.
func toListing(name gwapiv1.ObjectName) (ref gwapiv1.HTTPBackendRef) {
	ref.Group, ref.Kind, ref.Name = new(gwapiv1.Group(v1alpha1.GroupName)), new(gwapiv1.Kind(v1alpha1.KindBackend)), name
	return ref
}

// TestBackends sends requests to Backends: each endpoint gets some, in the protocol that the Backend names, and a
// fallback gets all of a rule's while its Service has no endpoint, and none otherwise.
func TestBackends(t *testing.T) {
	haveOutside(t)
	c := startTranslated(t, false)
	says := func(words string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, words, " ", r.Proto) }
	}
	two, calls := c.listing("two", says("one"), says("other")), c.listing("calls", says("calls"))
	spare := c.listing("spare", says("spare"))
	calls.Spec.AppProtocols, spare.Spec.Fallback = []v1alpha1.AppProtocol{v1alpha1.AppProtocolH2C}, new(true)
	first := c.behind("first", says("first"))
	route := c.route("a.example.com", nil)
	to := func(path string, refs ...gwapiv1.HTTPBackendRef) {
		rule := at(gwapiv1.PathMatchExact, path)
		rule.BackendRefs = refs
		route.Spec.Rules = append(route.Spec.Rules, rule)
	}
	service := at(gwapiv1.PathMatchExact, "/").BackendRefs[0]
	service.Name = "first"
	to("/two", toListing("two"))
	to("/calls", toListing("calls"))
	to("/spare", service, toListing("spare"))
	c.apply(append(first, two, calls, spare, route)...)

	answers := func(path string, requests int) map[string]int {
		t.Helper()
		got := map[string]int{}
		for range requests {
			response := exchange(t, http.MethodGet, path)
			body, _ := io.ReadAll(response.Body)
			got[fmt.Sprint(response.StatusCode, " ", string(body))]++
		}
		return got
	}
	c.reaches("/two")
	if got := answers("/two", 50); len(got) != 2 || got["200 one HTTP/1.1"] == 0 || got["200 other HTTP/1.1"] == 0 {
		t.Errorf("a Backend with two endpoints is answered for by %v", got)
	}
	if got := answers("/calls", 1); got["200 calls HTTP/2.0"] != 1 {
		t.Errorf("a Backend of HTTP/2 answers %v", got)
	}
	slice := first[1].(*discoveryv1.EndpointSlice)
	empty := slice.DeepCopy()
	empty.Generation, empty.Endpoints = c.meta("").Generation, nil
	for _, step := range []struct {
		slice translator.Object
		want  string
	}{{slice, "200 first HTTP/1.1"}, {empty, "200 spare HTTP/1.1"}, {slice, "200 first HTTP/1.1"}} {
		c.apply(step.slice)
		envoytest.WaitFor(t, step.want, func() bool { return answers("/spare", 1)[step.want] == 1 })
		if got := answers("/spare", 50); got[step.want] != 50 {
			t.Errorf("got %v, want all %q", got, step.want)
		}
	}
}
