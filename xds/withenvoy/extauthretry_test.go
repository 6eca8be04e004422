package withenvoy

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
)

// reluctant is an authorization server for gRPC that does not decide before it was asked a number of times.
type reluctant struct {
	authv3.UnimplementedAuthorizationServer
	asked, refuses atomic.Int32
}

func (s *reluctant) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	if s.asked.Add(1) <= s.refuses.Load() {
		return nil, status.Error(codes.Unavailable, "later")
	}
	return &authv3.CheckResponse{}, nil
}

// TestRetriesOfAuthorizationServers has servers for HTTP and gRPC fail before they decide. They are asked again if the
// settings for them say so, and as often as they say. An attempt that takes too long ends, and is one of them.
func TestRetriesOfAuthorizationServers(t *testing.T) {
	c := startTranslated(t, false)
	byHTTP, byGRPC := &scripted{}, &reluctant{}
	c.apply(c.behind("http", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/scripted"
		byHTTP.ServeHTTP(w, r)
	}))...)
	server, listener := grpc.NewServer(), listen(t)
	authv3.RegisterAuthorizationServer(server, byGRPC)
	t.Cleanup(server.Stop)
	go func() { _ = server.Serve(listener) }()
	c.apply(c.service("grpc", corev1.ProtocolTCP, listener.Addr().(*net.TCPAddr).Port)...)
	c.apply(c.route("open.test", nil), c.route("a.test", nil), c.route("b.test", nil))
	c.serves(proxyPort, "open.test")
	on := func(retries int32, triggers ...v1alpha1.TriggerEnum) *v1alpha1.ClusterSettings {
		return &v1alpha1.ClusterSettings{Retry: &v1alpha1.Retry{
			NumRetries: &retries, RetryOn: &v1alpha1.RetryOn{Triggers: triggers},
			PerRetry: &v1alpha1.PerRetryPolicy{Timeout: new(gwapiv1.Duration("500ms"))},
		}}
	}
	for _, tc := range []struct {
		what     string
		settings *v1alpha1.ClusterSettings
		script   []any
		refuses  int32
		grpc     bool
		want     int
		asked    int32
	}{
		{what: "HTTP without retry", script: []any{503}, want: 403, asked: 1},
		{what: "HTTP", settings: on(2, v1alpha1.Error5XX), script: []any{503, 500}, want: 200, asked: 3},
		{what: "HTTP too often", settings: on(1, v1alpha1.Error5XX), script: []any{503, 500}, want: 403, asked: 2},
		{what: "HTTP too slow", settings: on(1, v1alpha1.GatewayError), script: []any{"hang"}, want: 200, asked: 2},
		{what: "HTTP denied", settings: on(2, v1alpha1.Error5XX), script: []any{401}, want: 401, asked: 1},
		{what: "gRPC without retry", grpc: true, refuses: 1, want: 403, asked: 1},
		{what: "gRPC", grpc: true, settings: on(2, v1alpha1.Unavailable), refuses: 2, want: 200, asked: 3},
	} {
		auth, host := &v1alpha1.ExtAuth{HTTP: &v1alpha1.HTTPExtAuthService{}}, "a.test"
		cluster, port := &auth.HTTP.BackendCluster, gwapiv1.PortNumber(80)
		cluster.BackendRefs = []v1alpha1.BackendRef{{}}
		cluster.BackendRefs[0].Name = "http"
		if tc.grpc {
			auth, host, port = &v1alpha1.ExtAuth{GRPC: &v1alpha1.GRPCExtAuthService{BackendCluster: *cluster}}, "b.test", 7
			cluster = &auth.GRPC.BackendCluster
			cluster.BackendRefs[0].Name = "grpc"
		}
		cluster.BackendRefs[0].Port, cluster.BackendSettings = &port, tc.settings
		policy := c.admitting("guarded", "HTTPRoute", host, nil)
		policy.Spec.CORS, policy.Spec.ExtAuth = nil, auth
		c.apply(policy)
		c.quiet()
		byHTTP.script = tc.script
		byHTTP.attempts.Store(0)
		byGRPC.refuses.Store(tc.refuses)
		byGRPC.asked.Store(0)
		got := verbatim(t, http.MethodGet, host, "/scripted").StatusCode
		if asked := byHTTP.attempts.Load() + byGRPC.asked.Load(); got != tc.want || asked != tc.asked {
			t.Errorf("%s: got %d and the server was asked %d times, want %d and %d", tc.what, got, asked, tc.want, tc.asked)
		}
	}
}
