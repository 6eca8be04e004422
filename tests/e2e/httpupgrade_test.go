package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// upgradedRoutes have policies about the protocols that clients may change to.
const upgradedRoutes = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: tunnel}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: tunnel}]
  httpUpgrade: [{type: websocket}, {type: CONNECT, connect: {terminate: true}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: other}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: other}]
  httpUpgrade: [{type: spdy/3.1}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: held}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: held}]
  requestBuffer: {limit: 1Mi}
`

// TestHTTPUpgrades: a list of protocols replaces websocket, which routes allow by default. A tunnel leads to the pod of
// the backend, and its route serves requests too.
func TestHTTPUpgrades(t *testing.T) {
	t.Parallel()
	s := newScene(t, "upgrades")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("tunnel", "tunnel.example.com"),
		route("other", "other.example.com"), route("held", "held.example.com"), route("plain", "plain.example.com"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET plain.example.com/", http.StatusOK)
	socket := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
	s.apply(t, upgradedRoutes)
	for _, host := range []string{"other", "held"} {
		settles(t, at, "GET "+host+".example.com/ws", http.StatusForbidden, socket...)
	}
	openStream(t, at, "plain.example.com")()
	eventually(t, "a tunnel to the backend", func() error { return throughTunnel(at, "tunnel.example.com:80") })
	openStream(t, at, "tunnel.example.com")()
	settles(t, at, "GET tunnel.example.com/", http.StatusOK)
	if err := throughTunnel(at, "plain.example.com:80"); err == nil {
		t.Error("a route without CONNECT in its policy has tunnels")
	}
}

// throughTunnel asks an echo server behind a tunnel, for a host that the Gateway does not know.
func throughTunnel(at, target string) error {
	conn, err := net.DialTimeout("tcp", at+":80", 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // Without it the test waits longer.
	stream := bufio.NewReader(conn)
	exchange := func(method, request string) (*http.Response, error) {
		if _, err := io.WriteString(conn, request); err != nil {
			return nil, err
		}
		response, err := http.ReadResponse(stream, &http.Request{Method: method})
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: answered %s", method, response.Status)
		}
		return response, err
	}
	if _, err := exchange(http.MethodConnect, fmt.Sprintf("CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", target)); err != nil {
		return err
	}
	response, err := exchange(http.MethodGet, "GET /inside HTTP/1.1\r\nHost: inside.example.net\r\n\r\n")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var a answer
	if err := json.NewDecoder(response.Body).Decode(&a.asked); err != nil {
		return err
	}
	if a.asked.Host != "inside.example.net" || a.asked.Path != "/inside" || a.app() != "a" {
		return fmt.Errorf("%s was asked for %s%s", a.asked.Pod, a.asked.Host, a.asked.Path)
	}
	return nil
}
