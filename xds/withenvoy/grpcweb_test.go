package withenvoy

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/envoytest"
)

// TestGRPCWeb calls a gRPC server with gRPC, and with gRPC-Web as browsers do.
func TestGRPCWeb(t *testing.T) {
	c := startTranslated(t, false)
	server, listener := grpc.NewServer(), listen(t)
	healthv1.RegisterHealthServer(server, health.NewServer())
	t.Cleanup(server.Stop)
	go func() { _ = server.Serve(listener) }()
	var port int
	_, _ = fmt.Sscanf(listener.Addr().String(), "127.0.0.1:%d", &port)
	route := &gwapiv1.GRPCRoute{ObjectMeta: c.meta("health"), Spec: gwapiv1.GRPCRouteSpec{
		CommonRouteSpec: gwapiv1.CommonRouteSpec{ParentRefs: []gwapiv1.ParentReference{{Name: "web"}}},
		Hostnames:       []gwapiv1.Hostname{"g.example.com"},
		Rules: []gwapiv1.GRPCRouteRule{{BackendRefs: []gwapiv1.GRPCBackendRef{{BackendRef: toService("health",
			1)}}}},
	}}
	c.apply(append(c.service("health", corev1.ProtocolTCP, port), route)...)

	connection, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", proxyPort),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("g.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	client := healthv1.NewHealthClient(connection)
	envoytest.WaitFor(t, "a call by gRPC", func() bool {
		got, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{})
		return err == nil && got.Status == healthv1.HealthCheckResponse_SERVING
	})
	if _, err := client.Check(t.Context(),
		&healthv1.HealthCheckRequest{Service: "unknown"}); status.Code(err) != codes.NotFound {
		t.Errorf("a call by gRPC ended with %v, want NotFound", err)
	}

	// calls sends a message with HTTP/1.1 and expects a response that begins with the message and ends with the
	// trailers.
	calls := func(contentType string, code func([]byte) []byte, decode func([]byte) []byte, message, begins, ends string) {
		t.Helper()
		url := fmt.Sprintf("http://127.0.0.1:%d/grpc.health.v1.Health/Check", proxyPort)
		request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(code([]byte(message))))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "g.example.com"
		request.Header.Set("Content-Type", contentType)
		request.Header.Set("Accept", contentType)
		request.Header.Set("X-Grpc-Web", "1")
		response, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != contentType {
			t.Errorf("%s: answered %d, of type %q", contentType, response.StatusCode, got)
		}
		answer := string(decode(body)) + "grpc-status:" + response.Header.Get("Grpc-Status")
		if !strings.HasPrefix(answer, begins) || !strings.Contains(answer, ends) {
			t.Errorf("%s: answered %q, want %q and %q", contentType, answer, begins, ends)
		}
	}
	const serving = "\x00\x00\x00\x00\x02\x08\x01"
	same := func(b []byte) []byte { return b }
	text := func(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) }
	untext := func(b []byte) (all []byte) { // Each frame is encoded separately, with padding.
		for quantum := range slices.Chunk(b, 4) {
			decoded, _ := base64.StdEncoding.DecodeString(string(quantum))
			all = append(all, decoded...)
		}
		return all
	}
	calls("application/grpc-web+proto", same, same, "\x00\x00\x00\x00\x00", serving+"\x80", "grpc-status:0\r\n")
	calls("application/grpc-web-text+proto", text, untext, "\x00\x00\x00\x00\x00", serving+"\x80", "grpc-status:0\r\n")
	calls("application/grpc-web+proto", same, same, "\x00\x00\x00\x00\x09\x0a\x07unknown", "", "grpc-status:5")
}
