package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

// authorizer is the variable of the environment that makes this program an authorization server in a pod, by HTTP and
// by gRPC.
const authorizer = "GATEHOUSE_E2E_AUTHORIZER"

// Of those who say Bearer joe in Authorization an authorizer knows who they are. Bearer broken breaks it, and Bearer
// slow gets no answer.
const (
	asJoe    = "Bearer joe"
	asBroken = "Bearer broken"
	asSlow   = "Bearer slow"
	denial   = "who are you?"
)

// serveAuth tells the backend, in X-Asked, what it was asked.
func serveAuth() error {
	listener, err := net.Listen("tcp", ":9000")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, judge{})
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	go func() { failed <- http.ListenAndServe(":8080", http.HandlerFunc(judgeHTTP)) }()
	return <-failed
}

func asks(method, host, path, team, other, body string) string {
	return fmt.Sprintf("%s %s%s team=%s other=%s body=%s", method, host, path, team, other, body)
}

func judgeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Header.Get("Authorization") {
	case asJoe:
		body, _ := io.ReadAll(r.Body) // What is missing of it fails the test.
		w.Header().Set("X-User", "joe")
		w.Header().Set("X-Asked", asks(r.Method, r.Host, r.URL.Path, r.Header.Get("X-Team"), r.Header.Get("X-Other"),
			string(body)))
		w.Header().Set("Content-Type", "text/judged")
	case asBroken:
		w.WriteHeader(http.StatusInternalServerError)
	case asSlow:
		<-r.Context().Done()
	default:
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, denial)
	}
}

// quota is what a request costs, and the limit, in the form that Envoy's filter of global rate limits reads.
var quota = &structpb.Struct{Fields: map[string]*structpb.Value{
	"cost": structpb.NewNumberValue(2),
	"limit": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
		"requests_per_unit": structpb.NewNumberValue(2), "unit": structpb.NewStringValue("YEAR"),
	}}),
}}

type judge struct {
	authv3.UnimplementedAuthorizationServer
}

func (judge) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	q := r.GetAttributes().GetRequest().GetHttp()
	header := func(name, value string) []*corev3.HeaderValueOption {
		return []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: name, Value: value}}}
	}
	switch q.GetHeaders()["authorization"] {
	case asJoe:
		asked := asks(q.GetMethod(), q.GetHost(), q.GetPath(), q.GetHeaders()["x-team"], q.GetHeaders()["x-other"],
			q.GetBody())
		return &authv3.CheckResponse{
			Status: &rpcstatus.Status{Code: int32(codes.OK)},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
				Headers: append(header("x-user", "joe"), header("x-asked", asked)...),
			}},
			DynamicMetadata: quota,
		}, nil
	case asBroken:
		return nil, status.Error(codes.Internal, "broken")
	case asSlow:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized}, Headers: header("www-authenticate", "Bearer"),
			Body: denial,
		}},
	}, nil
}

// authPorts are where serveAuth is reached in its pod. Its Service does not say that it speaks HTTP/2 too.
const authPorts = `
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: web}, periodSeconds: 1}
`

const authService = `
apiVersion: v1
kind: Service
metadata: {name: auth}
spec: {selector: {app: auth}, ports: [{name: http, port: 80, targetPort: web}, {name: grpc, port: 9000}]}
`

// guardedRoute has a rule for each way to ask.
const guardedRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guarded}
spec:
  parentRefs: [{name: gw}]
  hostnames: [guarded.example.com]
  rules:
  - matches: [{path: {value: /http}}]
    filters:
    - {type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: auth, port: 80}, http: {path: /check}}}
    - {type: CORS, cors: {allowOrigins: ["https://shop.example.com"]}}
    backendRefs: [{name: a, port: 80}]
  - matches: [{path: {value: /named}}]
    filters:
    - type: ExternalAuth
      externalAuth:
        protocol: HTTP
        backendRef: {name: auth, port: 80}
        http: {allowedHeaders: [X-Team], allowedResponseHeaders: [X-Asked]}
        forwardBody: {maxSize: 10}
    backendRefs: [{name: a, port: 80}]
  - matches: [{path: {value: /grpc}}]
    filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: auth, port: 9000}, grpc: {}}}]
    backendRefs: [{name: a, port: 80}]
  - matches: [{path: {value: /grpc/named}}]
    filters:
    - type: ExternalAuth
      externalAuth:
        protocol: GRPC
        backendRef: {name: auth, port: 9000}
        grpc: {allowedHeaders: [X-Team, Authorization]}
        forwardBody: {maxSize: 10}
    backendRefs: [{name: a, port: 80}]
  - matches: [{path: {value: /moved}}]
    filters:
    - {type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: auth, port: 80}, http: {}}}
    - {type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /open}}}
`

// TestExternalAuth: an authorization server decides what is let through, and whatever keeps it from deciding denies. A
// rule beside it knows nothing of that, and no connection is cut when the filter comes or goes.
func TestExternalAuth(t *testing.T) {
	t.Parallel()
	s := newScene(t, "auth")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), inPod(t, "auth", authorizer, "1", authPorts), authService, plainGateway,
		route("open", "open.example.com"))
	s.kubectl(t, "rollout", "status", "deployment/auth", "--timeout=60s")
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET open.example.com/", http.StatusOK)
	end := loads(t, at, "open.example.com")
	defer end()
	s.apply(t, guardedRoute)
	guarded := []string{"/http", "/named", "/grpc", "/grpc/named", "/moved"}
	for _, path := range guarded {
		settles(t, at, "GET guarded.example.com"+path, http.StatusUnauthorized)
	}
	decides(t, at)
	abandons(t, s, at)
	// A browser asks beforehand without saying who it is.
	preflight := asked(t, at, "OPTIONS guarded.example.com/http", "Origin", "https://shop.example.com",
		"Access-Control-Request-Method", "GET")
	if allowed := preflight.header.Get("Access-Control-Allow-Origin"); preflight.code != http.StatusOK || allowed == "" {
		t.Errorf("a preflight was answered %d and allowed %q", preflight.code, allowed)
	}

	denied := func(code int) {
		t.Helper()
		for _, path := range guarded {
			settles(t, at, "GET guarded.example.com"+path, code, "Authorization", asJoe)
		}
	}
	s.kubectl(t, "scale", "deployment/auth", "--replicas=0")
	denied(http.StatusForbidden)
	s.kubectl(t, "delete", "service", "auth")
	denied(http.StatusInternalServerError)
	s.becomes(t, "httproute/guarded", reason(".status.parents[0]", "ResolvedRefs"), "BackendNotFound")
	s.kubectl(t, "scale", "deployment/auth", "--replicas=1")
	s.apply(t, authService)
	settles(t, at, "GET guarded.example.com/http", http.StatusOK, "Authorization", asJoe)
	settles(t, at, "GET guarded.example.com/grpc", http.StatusOK, "Authorization", asJoe)
	s.kubectl(t, "delete", "httproute", "guarded")
	settles(t, at, "GET guarded.example.com/http", http.StatusNotFound)
}

// decides sends what is to be let through and what is not.
func decides(t *testing.T, at string) {
	t.Helper()
	const host, long = "guarded.example.com", "01234567890"
	for _, c := range []struct {
		path, authorization, body string
		code                      int
		asked, user               string
	}{
		{
			path: "/http/x", authorization: asJoe, body: "0123456789", code: 200,
			asked: "POST guarded.example.com/check/http/x team= other= body=", user: "joe",
		},
		{
			path: "/named/x", authorization: asJoe, body: "0123456789", code: 200,
			asked: "POST guarded.example.com/named/x team=red other= body=0123456789",
		},
		{
			path: "/grpc/x", authorization: asJoe, body: "0123456789", code: 200,
			asked: "POST guarded.example.com/grpc/x team=red other=1 body=", user: "joe",
		},
		{
			path: "/grpc/named", authorization: asJoe, body: "0123456789", code: 200,
			asked: "POST guarded.example.com/grpc/named team=red other= body=0123456789", user: "joe",
		},
		{
			path: "/grpc/named", authorization: asJoe, body: "a\xffb", code: 200,
			asked: "POST guarded.example.com/grpc/named team=red other= body=a!b", user: "joe",
		},
		{path: "/moved", authorization: asJoe, code: 302},
		{path: "/http", authorization: "Bearer eve", code: 401},
		{path: "/grpc", code: 401},
		{path: "/moved", code: 401},
		{path: "/http", authorization: asBroken, code: 403},
		{path: "/grpc", authorization: asBroken, code: 403},
		{path: "/named", authorization: asJoe, body: long, code: 413},
		{path: "/grpc/named", authorization: asJoe, body: long, code: 413},
	} {
		a, body, err := send(t.Context(), at, host+c.path, c.body, "Authorization", c.authorization, "X-Team", "red",
			"X-Other", "1", "Content-Type", "text/own")
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		if asked, user := a.asked.Headers.Get("X-Asked"), a.asked.Headers.Get("X-User"); a.code != c.code ||
			asked != c.asked || user != c.user {
			t.Errorf("%s by %q with %q: answered %d; the authorizer was asked %q and named %q, want %d, %q and %q", c.path,
				c.authorization, c.body, a.code, asked, user, c.code, c.asked, c.user)
		}
		if of := a.asked.Headers.Get("Content-Type"); a.code == 200 && of != "text/own" {
			t.Errorf("%s: the backend got a body of type %q", c.path, of)
		}
		if challenge := a.header.Get("WWW-Authenticate"); c.code == 401 && (body != denial || challenge != "Bearer") {
			t.Errorf("%s is denied with %q and %q", c.path, challenge, body)
		}
	}
}

// abandons gives requests up while their authorizer thinks: Envoy must not fall over it.
func abandons(t *testing.T, s scene, at string) {
	t.Helper()
	for _, path := range []string{"/http", "/grpc"} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if a, _, err := send(ctx, at, "guarded.example.com"+path, "", "Authorization", asSlow); err == nil {
			t.Errorf("%s was not to be decided on, but is answered %d", path, a.code)
		}
		cancel()
	}
	restarts, err := kubectl(append([]string{
		"get", "pods", "-o",
		"jsonpath={.items[*].status.containerStatuses[*].restartCount}",
	}, fleetOf(s)...)...)
	if strings.Trim(must(t, restarts, err), "0 ") != "" {
		t.Errorf("restarts of Envoy: %s", restarts)
	}
}

// send posts a body and answers with that of the answer too.
func send(ctx context.Context, at, target, body string, headers ...string) (a answer, got string, err error) {
	host, path, _ := strings.Cut(target, "/")
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+at+"/"+path, strings.NewReader(body))
	if err != nil {
		return a, "", err
	}
	r.Host = host
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return answered(r)
}
