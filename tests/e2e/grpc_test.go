package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	pb "sigs.k8s.io/gateway-api-conformance-images/echo-basic/grpcechoserver"
)

// grpcEchoServer knows the service grpcEcho with the methods Echo and EchoTwo. Its Service does not say that it speaks
// HTTP/2: that a GRPCRoute leads to it is enough.
const grpcEchoServer = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: grpc}
spec:
  selector: {matchLabels: {app: grpc}}
  template:
    metadata: {labels: {app: grpc}}
    spec:
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/conformance/echo-basic:v0.1.0
        ports: [{name: grpc, containerPort: 3000}]
        readinessProbe: {tcpSocket: {port: grpc}, periodSeconds: 1}
        env: [{name: GRPC_ECHO_SERVER, value: "1"}]
---
apiVersion: v1
kind: Service
metadata: {name: grpc}
spec: {selector: {app: grpc}, ports: [{name: grpc, port: 80, targetPort: grpc}]}
`

const grpcEcho = "gateway_api_conformance.echo_basic.grpcecho.GrpcEcho"

// grpcRoutes mark each answer with the rule that took the call.
const grpcRoutes = `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: mixed}
spec:
  parentRefs: [{name: gw}]
  hostnames: [mixed.example.com]
  rules:
  - matches: [{method: {method: EchoThree}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: method}]}}]
    backendRefs: [{name: grpc, port: 80}]
  - matches: [{method: {service: %[1]s}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: service}]}}]
    backendRefs: [{name: grpc, port: 80}]
  - matches: [{method: {service: %[1]s, method: EchoTwo}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: both}]}}]
    backendRefs: [{name: grpc, port: 80}]
  - matches: [{method: {service: %[1]s, method: EchoTwo}, headers: [{name: x-version, value: two}]}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: header}]}}]
    backendRefs: [{name: grpc, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: method}
spec:
  parentRefs: [{name: gw}]
  hostnames: [method.example.com]
  rules:
  - matches: [{method: {method: EchoTwo}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: method}]}}]
    backendRefs: [{name: grpc, port: 80}]
`

// call makes a gRPC call for a host and answers with its status code and the rule that took it, which is empty if none
// did.
func call(t *testing.T, at, host, path string, headers ...string) (codes.Code, string) {
	t.Helper()
	conn, err := grpc.NewClient(at+":80", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority(host))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), headers...), 5*time.Second)
	defer cancel()
	var header, trailer metadata.MD
	err = conn.Invoke(ctx, path, &pb.EchoRequest{}, &pb.EchoResponse{}, grpc.Header(&header), grpc.Trailer(&trailer))
	for _, md := range []metadata.MD{header, trailer} { // An answer without a message has its headers in the trailer.
		if rule := md.Get("x-rule"); len(rule) > 0 {
			return status.Code(err), rule[0]
		}
	}
	return status.Code(err), ""
}

// TestGRPCRoutes: calls are matched as gRPC names them, /service/method. A match of a method alone is of exactly that
// method, of any service; what is not such a call does not match. A call that no rule takes is UNIMPLEMENTED, and one that a
// rule takes whose backend cannot be is UNAVAILABLE.
func TestGRPCRoutes(t *testing.T) {
	t.Parallel()
	s := newScene(t, "grpc")
	s.apply(t, grpcEchoServer, plainGateway, fmt.Sprintf(grpcRoutes, grpcEcho))
	at := address(t, s.namespace, "gw")
	for _, host := range []string{"mixed.example.com", "method.example.com"} {
		eventually(t, "gRPC of "+host, func() error {
			if code, rule := call(t, at, host, "/"+grpcEcho+"/EchoTwo"); code != codes.OK {
				return fmt.Errorf("%s by rule %q", code, rule)
			}
			return nil
		})
	}
	for _, c := range []struct {
		host, path string
		headers    []string
		code       codes.Code
		rule       string
	}{
		{host: "mixed", path: grpcEcho + "/Echo", rule: "service"},
		{host: "mixed", path: grpcEcho + "/EchoTwo", rule: "both"},
		{host: "mixed", path: grpcEcho + "/EchoTwo", headers: []string{"x-version", "two"}, rule: "header"},
		// The longer service comes before the method. That it has no such method is what the server says.
		{host: "mixed", path: grpcEcho + "/EchoThree", code: codes.Unimplemented, rule: "service"},
		{host: "mixed", path: "another.Service/EchoThree", code: codes.Unimplemented, rule: "method"},
		{host: "mixed", path: "another.Service/Echo", code: codes.Unimplemented},
		{host: "mixed", path: grpcEcho + "Two/Echo", code: codes.Unimplemented},
		{host: "method", path: grpcEcho + "/EchoTwo", rule: "method"},
		{host: "method", path: "another.Service/EchoTwo", code: codes.Unimplemented, rule: "method"},
		{host: "method", path: grpcEcho + "/Echo", code: codes.Unimplemented},
		{host: "method", path: grpcEcho + "/NotEchoTwo", code: codes.Unimplemented},
		{host: "method", path: grpcEcho + "/EchoTwoAndMore", code: codes.Unimplemented},
		{host: "method", path: "a/" + grpcEcho + "/EchoTwo", code: codes.Unimplemented},
		{host: "method", path: "EchoTwo", code: codes.Unimplemented},
		{host: "other", path: grpcEcho + "/Echo", code: codes.Unimplemented},
	} {
		if code, rule := call(t, at, c.host+".example.com", "/"+c.path, c.headers...); code != c.code || rule != c.rule {
			t.Errorf("%s /%s %v: %s by rule %q, want %s by %q", c.host, c.path, c.headers, code, rule, c.code, c.rule)
		}
	}

	s.kubectl(t, "delete", "service", "grpc")
	eventually(t, "a backend that is gone makes calls UNAVAILABLE", func() error {
		code, _ := call(t, at, "method.example.com", "/"+grpcEcho+"/EchoTwo")
		if code != codes.Unavailable {
			return errors.New(code.String())
		}
		return nil
	})
	if code, _ := call(t, at, "method.example.com", "/"+grpcEcho+"/Echo"); code != codes.Unimplemented {
		t.Errorf("what no rule takes is %s then", code)
	}
	s.becomes(t, "grpcroute/method", reason(".status.parents[0]", "ResolvedRefs"), "BackendNotFound")
}
