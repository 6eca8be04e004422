package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// backendAddress is this end of the cluster's network, which pods reach.
const backendAddress = "10.244.0.1"

// backends listen on ports of their own and serve as long as the process lives: well-behaved ones that leave an
// EndpointSlice finish what they have begun.
type backends struct {
	// web serve HTTP/1, and echo what comes over a connection that was upgraded. They answer with their port.
	web []int32
	// streaming serve gRPC.
	streaming []int32
}

func startBackends() (*backends, error) {
	b := &backends{}
	for range 12 {
		listener, port, err := listen()
		if err != nil {
			return nil, err
		}
		b.web = append(b.web, port)
		server := &http.Server{Handler: web(port), ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(listener) }() // It serves until the process ends.
	}
	for range 2 {
		listener, port, err := listen()
		if err != nil {
			return nil, err
		}
		b.streaming = append(b.streaming, port)
		status := health.NewServer()
		server := grpc.NewServer()
		healthv1.RegisterHealthServer(server, status)
		go func() { _ = server.Serve(listener) }() // As above.
		go func() {
			for up := true; ; up = !up { // Each change goes out on every open stream.
				time.Sleep(200 * time.Millisecond)
				state := healthv1.HealthCheckResponse_SERVING
				if up {
					state = healthv1.HealthCheckResponse_NOT_SERVING
				}
				status.SetServingStatus("", state)
			}
		}()
	}
	return b, nil
}

func listen() (net.Listener, int32, error) {
	listener, err := net.Listen("tcp", backendAddress+":0")
	if err != nil {
		return nil, 0, fmt.Errorf("listen for a backend: %w", err)
	}
	return listener, int32(listener.Addr().(*net.TCPAddr).Port), nil
}

// web answers with its port, and turns an upgraded connection into an echo.
func web(port int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprint(w, port)
			return
		}
		connection, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer connection.Close()
		fmt.Fprint(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(connection, buffered) // Until the client leaves.
	})
}

// get asks for a host and answers with status and body; the status is 0 if there was no answer.
func get(c *http.Client, address, host string) (int, string) {
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return 0, err.Error()
	}
	request.Host = host
	response, err := c.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}
