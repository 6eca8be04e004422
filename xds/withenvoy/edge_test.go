package withenvoy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// tooSlow is when a test stops waiting for the end of a slow client's connection, far above each limit.
const tooSlow = 40 * time.Second

// hello is the beginning of a client's TLS handshake.
func hello(t *testing.T, server string) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	go func() {
		_ = tls.Client(ours, &tls.Config{ServerName: server, MinVersion: tls.VersionTLS12}).Handshake()
	}()
	defer theirs.Close()
	first := make([]byte, 4096)
	n, err := theirs.Read(first)
	if err != nil {
		t.Fatal(err)
	}
	return first[:n]
}

// TestSlowClientsAreClosed: a client that sends one header a second, or never finishes a TLS handshake, loses its
// connection, on listeners of every protocol with TLS. A long upload does not count as slow.
func TestSlowClientsAreClosed(t *testing.T) {
	_, certificate := certificates(t, "slow.example.com")
	m := &translated{generation: 100}
	gateway := m.gateway(false)
	name := gwapiv1.Hostname("slow.example.com")
	with := &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "slow"}}}
	gateway.Spec.Listeners = []gwapiv1.Listener{
		{Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80},
		{Name: "https", Protocol: gwapiv1.HTTPSProtocolType, Port: 443, Hostname: &name, TLS: with},
		{Name: "tls", Protocol: gwapiv1.TLSProtocolType, Port: 8443, Hostname: &name, TLS: with},
	}
	objects := []translator.Object{
		gateway, keyPair(t, m.meta("slow"), certificate), m.route("slow.example.com", nil),
		m.tlsRoute("tls", name, "silent"),
	}
	objects = append(objects, m.service("silent", corev1.ProtocolTCP, listen(t).Addr().(*net.TCPAddr).Port)...)
	c := startTranslated(t, false, objects...)
	envoytest.WaitFor(t, "the route", func() bool {
		code, _ := envoytest.Get(proxyPort, "/")
		return code == http.StatusOK || code == http.StatusNotFound
	})
	c.quiet()
	for what, client := range map[string]struct {
		port  int
		write func(net.Conn)
	}{
		"headers": {10080, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: slow.example.com\r\n")
			for i := 0; ; i++ {
				time.Sleep(time.Second)
				if _, err := fmt.Fprintf(conn, "x-%d: 1\r\n", i); err != nil {
					return
				}
			}
		}},
		"handshake of HTTPS": {10443, func(conn net.Conn) { _, _ = conn.Write(hello(t, "slow.example.com")) }},
		"handshake of TLS":   {8443, func(conn net.Conn) { _, _ = conn.Write(hello(t, "slow.example.com")) }},
		"no handshake":       {10443, func(net.Conn) {}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", client.port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if err := conn.SetReadDeadline(time.Now().Add(tooSlow)); err != nil {
				t.Fatal(err)
			}
			go client.write(conn)
			if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("the connection is open after %s", tooSlow)
			}
		})
	}
	t.Run("upload", func(t *testing.T) {
		t.Parallel()
		body, upload := io.Pipe()
		go func() {
			for range 15 {
				_, _ = io.WriteString(upload, "x")
				time.Sleep(time.Second)
			}
			_ = upload.Close()
		}()
		request, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/", proxyPort), body)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "slow.example.com"
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("an upload of 15 s is answered %s", response.Status)
		}
	})
}
