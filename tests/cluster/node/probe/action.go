package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// client makes requests as a kubelet does: any certificate will do, connections are not kept, redirects to another host
// are an answer.
var client = &http.Client{
	Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	},
	CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Hostname() != via[0].URL.Hostname() || len(via) >= 10 {
			return http.ErrUseLastResponse
		}
		return nil
	},
}

// HTTPGet makes the request to the pod's address, or to the action's own host, and returns an error unless the answer
// is from 200 to 399.
func HTTPGet(ctx context.Context, podIP string, c *corev1.Container, a *corev1.HTTPGetAction) error {
	port, err := portNumber(c, a.Port)
	if err != nil {
		return err
	}
	scheme := strings.ToLower(string(a.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	target := scheme + "://" + net.JoinHostPort(either(a.Host, podIP), port) + "/" + strings.TrimPrefix(a.Path, "/")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("httpGet: %w", err)
	}
	request.Header.Set("User-Agent", "kube-probe/1.37")
	for _, h := range a.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			request.Host = h.Value
		} else {
			request.Header.Set(h.Name, h.Value)
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("httpGet: %w", err)
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 512))
	if err := response.Body.Close(); err != nil {
		return fmt.Errorf("httpGet %s: %w", target, err)
	}
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("httpGet %s: status %d: %s", target, response.StatusCode, body)
	}
	return nil
}

// TCPSocket returns an error unless the port accepts a connection.
func TCPSocket(ctx context.Context, podIP string, c *corev1.Container, a *corev1.TCPSocketAction) error {
	port, err := portNumber(c, a.Port)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(either(a.Host, podIP), port))
	if err != nil {
		return fmt.Errorf("tcpSocket: %w", err)
	}
	return conn.Close()
}

// GRPC returns an error unless the service says that it is serving, by the gRPC health protocol.
func GRPC(ctx context.Context, podIP string, a *corev1.GRPCAction) error {
	target := net.JoinHostPort(podIP, strconv.Itoa(int(a.Port)))
	conn, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy())
	if err != nil {
		return fmt.Errorf("grpc: %w", err)
	}
	var request health.HealthCheckRequest
	if a.Service != nil {
		request.Service = *a.Service
	}
	answer, err := health.NewHealthClient(conn).Check(ctx, &request)
	if err := errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("grpc %s: %w", target, err)
	}
	if s := answer.GetStatus(); s != health.HealthCheckResponse_SERVING {
		return fmt.Errorf("grpc %s: service %q is %s", target, request.Service, s)
	}
	return nil
}

func portNumber(c *corev1.Container, port intstr.IntOrString) (string, error) {
	if port.Type == intstr.Int {
		return strconv.Itoa(port.IntValue()), nil
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return strconv.Itoa(int(p.ContainerPort)), nil
		}
	}
	return "", fmt.Errorf("container %q has no port named %q", c.Name, port.StrVal)
}

func either(first, second string) string {
	if first != "" {
		return first
	}
	return second
}
