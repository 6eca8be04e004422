package withenvoy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// upgrade changes to the protocol that a client asks for, or becomes the end of a tunnel, and answers a line.
func upgrade(w http.ResponseWriter, r *http.Request) {
	conn, stream, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	if r.Method == http.MethodConnect {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	} else {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	}
	if line, err := stream.ReadString('\n'); err == nil {
		_, _ = fmt.Fprintf(conn, "%s of %s heard %s", r.Method, r.Host, line)
	}
}

// upgrades asks for protocols and tunnels. On a listener with filters, Envoy decides about them before it knows the
// route. There, a route can refuse websocket only if it has a buffer.
func upgrades(t *testing.T, below string) {
	guarded := below != ".test"
	for _, tc := range []struct{ host, protocol, want string }{
		{"upgrade", "spdy/3.1", "101 GET of upgrade%s heard hello"},
		{"upgrade", "websocket", "403 "},
		{"plain", "websocket", "101 GET of plain%s heard hello"},
		{"plain", "spdy/3.1", "403 "},
		{"buffer", "websocket", "403 "},
		{"tunnel", "websocket", "101 GET of tunnel%s heard hello"},
		{"proxy", "websocket", "403 "},
	} {
		if guarded && tc.host != "plain" && tc.host != "buffer" {
			continue
		}
		ask := fmt.Sprintf("GET /upgrade HTTP/1.1\r\nHost: %s%s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", tc.host, below, tc.protocol)
		if got, want := inTunnel(t, ask, "hello\n"), strings.ReplaceAll(tc.want, "%s", below); got != want {
			t.Errorf("%s asked for %s: got %q, want %q", tc.host, tc.protocol, got, want)
		}
	}
	for _, tc := range []struct{ host, said, want string }{
		// What comes out of the tunnel is a request to the backend itself.
		{"tunnel", "GET /upgrade HTTP/1.1\r\nHost: inside\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "200 HTTP/1.1 101 Switching Protocols"},
		{"proxy", "hello\n", "200 CONNECT of proxy%s:443 heard hello"},
		{"plain", "hello\n", "404 "},
	} {
		ask := fmt.Sprintf("CONNECT %[1]s%[2]s:443 HTTP/1.1\r\nHost: %[1]s%[2]s:443\r\n\r\n", tc.host, below)
		want := strings.ReplaceAll(tc.want, "%s", below)
		if guarded {
			want = "404 "
		}
		if got := inTunnel(t, ask, tc.said); got != want {
			t.Errorf("a tunnel to %s: got %q, want %q", tc.host, got, want)
		}
	}
	for _, host := range []string{"tunnel", "proxy"} {
		if got := post(t, host+below, "/", nil).StatusCode; got != http.StatusOK {
			t.Errorf("a request to %s, which has tunnels too, gets %d", host, got)
		}
	}
}

// inTunnel sends a request that asks for a protocol or a tunnel, and says something in it. It returns the status and the
// first line that is answered.
func inTunnel(t *testing.T, ask, say string) string {
	t.Helper()
	conn := connect(t, 10*time.Second)
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, ask)
	stream, method := bufio.NewReader(conn), strings.Fields(ask)[0]
	response, err := http.ReadResponse(stream, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	said := ""
	if response.StatusCode == http.StatusSwitchingProtocols || method == http.MethodConnect && response.StatusCode == http.StatusOK {
		_, _ = io.WriteString(conn, say)
		said, _ = stream.ReadString('\n')
	}
	return fmt.Sprintf("%d %s", response.StatusCode, strings.TrimSpace(said))
}
