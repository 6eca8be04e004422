package withenvoy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// speaker writes its name to every connection, and closes it.
func speaker(t *testing.T, listener net.Listener, name string) int {
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, name)
			_ = connection.Close()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// answerer answers every datagram with its name.
func answerer(t *testing.T, name string) int {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		buffer := make([]byte, 100)
		for {
			_, from, err := socket.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			_, _ = socket.WriteToUDP([]byte(name), from)
		}
	}()
	return socket.LocalAddr().(*net.UDPAddr).Port
}

// heard is the data from a connection to the port until it ends; with a server name the connection uses TLS.
func heard(port int, server string, ca *x509.CertPool) string {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	connection, err := dialer.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "no connection"
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
	if server != "" {
		connection = tls.Client(connection, &tls.Config{ServerName: server, RootCAs: ca, MinVersion: tls.VersionTLS12})
	}
	said, err := io.ReadAll(connection)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return "nothing in time"
	}
	return string(said)
}

// answered is the answer to a datagram from its own port, empty if there is none.
func answered(port int) string {
	socket, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return ""
	}
	defer func() { _ = socket.Close() }()
	_ = socket.SetDeadline(time.Now().Add(200 * time.Millisecond))
	_, _ = io.WriteString(socket, "hello")
	buffer := make([]byte, 100)
	n, _ := socket.Read(buffer)
	return string(buffer[:n])
}

// service is a Service of one port with one endpoint.
func (c *translated) service(name string, protocol corev1.Protocol, port int) []translator.Object {
	service := &corev1.Service{ObjectMeta: c.meta(name), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{
		Port:     7,
		Protocol: protocol,
	}}}}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: c.meta(name), AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(port)), Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	return []translator.Object{service, slice}
}

func (c *translated) parents(listener gwapiv1.SectionName) gwapiv1.CommonRouteSpec {
	return gwapiv1.CommonRouteSpec{ParentRefs: []gwapiv1.ParentReference{{Name: "web", SectionName: &listener}}}
}

func toService(name string, weight int32) gwapiv1.BackendRef {
	ref := gwapiv1.BackendRef{Weight: &weight}
	ref.Name, ref.Port = gwapiv1.ObjectName(name), new(int32(7))
	return ref
}

func (c *translated) tlsRoute(listener gwapiv1.SectionName, host gwapiv1.Hostname, backend string) *gwapiv1.TLSRoute {
	return &gwapiv1.TLSRoute{ObjectMeta: c.meta(backend), Spec: gwapiv1.TLSRouteSpec{
		CommonRouteSpec: c.parents(listener), Hostnames: []gwapiv1.Hostname{host},
		Rules: []gwapiv1.TLSRouteRule{{BackendRefs: []gwapiv1.BackendRef{toService(backend, 1)}}},
	}}
}

func (c *translated) tcpRoute(listener gwapiv1.SectionName, backends ...gwapiv1.BackendRef) *gwapiv1.TCPRoute {
	return &gwapiv1.TCPRoute{ObjectMeta: c.meta(string(listener)), Spec: gwapiv1.TCPRouteSpec{
		CommonRouteSpec: c.parents(listener), Rules: []gwapiv1.TCPRouteRule{{BackendRefs: backends}},
	}}
}

func (c *translated) udpRoute(listener gwapiv1.SectionName, backends ...gwapiv1.BackendRef) *gwapiv1.UDPRoute {
	return &gwapiv1.UDPRoute{ObjectMeta: c.meta(string(listener)), Spec: gwapiv1.UDPRouteSpec{
		CommonRouteSpec: c.parents(listener), Rules: []gwapiv1.UDPRouteRule{{BackendRefs: backends}},
	}}
}

// TestLayer4: connections and datagrams reach the backends of their routes, with TCP and UDP on one port number and by
// server names on one TLS port. A connection without a route is accepted and closed.
func TestLayer4(t *testing.T) {
	ca, ended := certificates(t, "end.example.com")
	inner, through := certificates(t, "a.through.example.com")
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(ca)
	trusted.AppendCertsFromPEM(inner)
	encrypted := tls.NewListener(listen(t), &tls.Config{
		Certificates: []tls.Certificate{through},
		MinVersion:   tls.VersionTLS12,
	})

	m := &translated{generation: 100}
	gateway := m.gateway(false)
	hostname := func(h gwapiv1.Hostname) *gwapiv1.Hostname { return &h }
	certificate := []gwapiv1.SecretObjectReference{{Name: "end"}}
	gateway.Spec.Listeners = []gwapiv1.Listener{
		{Name: "tcp", Protocol: gwapiv1.TCPProtocolType, Port: 9000},
		{Name: "udp", Protocol: gwapiv1.UDPProtocolType, Port: 9000},
		{Name: "idle", Protocol: gwapiv1.TCPProtocolType, Port: 9001},
		{
			Name: "through", Protocol: gwapiv1.TLSProtocolType, Port: 443, Hostname: hostname("*.through.example.com"),
			TLS: &gwapiv1.ListenerTLSConfig{Mode: new(gwapiv1.TLSModePassthrough)},
		},
		{
			Name: "end", Protocol: gwapiv1.TLSProtocolType, Port: 443, Hostname: hostname("end.example.com"),
			TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: certificate},
		},
	}
	objects := []translator.Object{
		gateway, keyPair(t, m.meta("end"), ended),
		m.tcpRoute("tcp", toService("tcp", 1)), m.udpRoute("udp", toService("udp", 3), toService("udp-2", 1)),
		m.tlsRoute("through", "a.through.example.com", "tls"), m.tlsRoute("through", "b.through.example.com", "gone"),
		m.tlsRoute("end", "end.example.com", "tcp"),
	}
	objects = append(objects, m.service("tcp", corev1.ProtocolTCP, speaker(t, listen(t), "tcp"))...)
	objects = append(objects, m.service("tcp-2", corev1.ProtocolTCP, speaker(t, listen(t), "tcp-2"))...)
	objects = append(objects, m.service("tls", corev1.ProtocolTCP, speaker(t, encrypted, "tls"))...)
	objects = append(objects, m.service("udp", corev1.ProtocolUDP, answerer(t, "udp"))...)
	objects = append(objects, m.service("udp-2", corev1.ProtocolUDP, answerer(t, "udp-2"))...)
	c := startTranslated(t, false, objects...)
	c.generation = 1000

	hears := func(what string, port int, server, want string) {
		t.Helper()
		got := ""
		envoytest.WaitFor(t, fmt.Sprintf("%s to hear %q", what, want), func() bool {
			got = heard(port, server, trusted)
			return got == want
		})
	}
	hears("a connection", 9000, "", "tcp")
	hears("a connection to a listener without routes", 9001, "", "")
	hears("a server name that is passed through", 10443, "a.through.example.com", "tls")
	hears("a server name without a backend", 10443, "b.through.example.com", "")
	hears("a server name without a route", 10443, "c.through.example.com", "")
	hears("a server name where TLS ends", 10443, "end.example.com", "tcp")

	envoytest.WaitFor(t, "a datagram to be answered", func() bool { return answered(9000) != "" })
	answers := map[string]int{}
	for range 200 {
		answers[answered(9000)]++
	}
	if answers["udp"] < 110 || answers["udp-2"] < 15 || answers["udp"]+answers["udp-2"] < 195 {
		t.Errorf("200 datagrams of weights 3 and 1 were answered by %v", answers)
	}

	t.Run("weights", func(t *testing.T) {
		c.apply(c.tcpRoute("tcp", toService("tcp-2", 1), toService("gone", 1)))
		hears("a connection after a change", 9000, "", "tcp-2")
		envoytest.WaitFor(t, "the share of no backend to be closed", func() bool { return heard(9000, "", nil) == "" })
		c.apply(c.tcpRoute("tcp", toService("tcp", 1)))
		hears("a connection after another change", 9000, "", "tcp")
	})
	t.Run("authorization", func(t *testing.T) {
		policy := &v1alpha1.SecurityPolicy{ObjectMeta: c.meta("nobody")}
		policy.Spec.TargetRefs = []gwapiv1.LocalPolicyTargetReferenceWithSectionName{{
			LocalPolicyTargetReference: gwapiv1.LocalPolicyTargetReference{
				Group: gwapiv1.GroupName, Kind: "TCPRoute",
				Name: "tcp",
			},
		}}
		policy.Spec.Authorization = &v1alpha1.Authorization{Rules: []v1alpha1.AuthorizationRule{{
			Action:    v1alpha1.AuthorizationActionDeny,
			Principal: &v1alpha1.Principal{ClientCIDRs: []v1alpha1.CIDR{"127.0.0.0/8"}},
		}}, DefaultAction: new(v1alpha1.AuthorizationActionAllow)}
		c.apply(policy)
		hears("a connection that is denied", 9000, "", "")
		hears("a connection to another listener", 10443, "end.example.com", "tcp")
	})
}
