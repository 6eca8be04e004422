package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestCounter(t *testing.T) {
	for name, tc := range map[string]struct {
		counter  Counter
		outcomes string // + and -
		stands   string // y for each outcome that stands
	}{
		"unset thresholds":     {Counter{}, "+-+", "yyy"},
		"three failures":       {Counter{Success: 1, Failure: 3}, "+--+---", "ynnynny"},
		"two successes":        {Counter{Success: 2, Failure: 1}, "+-++-", "nynyy"},
		"it goes on to report": {Counter{Success: 1, Failure: 2}, "----", "nyyy"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, o := range tc.outcomes {
				got += map[bool]string{true: "y", false: "n"}[tc.counter.Observe(o == '+')]
			}
			if got != tc.stands {
				t.Errorf("got %s, want %s", got, tc.stands)
			}
		})
	}
}

func TestWatchKeepsTheProbesTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		begin := time.Now()
		var runs []time.Duration
		var reports []bool
		p := &corev1.Probe{
			InitialDelaySeconds: 2, PeriodSeconds: 5, TimeoutSeconds: 1, SuccessThreshold: 1,
			FailureThreshold: 2,
		}
		Watch(ctx, p, func(ctx context.Context) error {
			runs = append(runs, time.Since(begin))
			if len(runs) == 1 {
				return nil
			}
			<-ctx.Done() // Takes longer than the time-out.
			return ctx.Err()
		}, func(err error) bool {
			reports = append(reports, err == nil)
			return true
		})
		if diff := cmp.Diff([]time.Duration{2 * time.Second, 7 * time.Second, 12 * time.Second, 17 * time.Second},
			runs); diff != "" {
			t.Error("times:", diff)
		}
		if diff := cmp.Diff([]bool{true, false, false}, reports); diff != "" {
			t.Error("reports:", diff)
		}
	})
}

func TestWatchStopsWhenTold(t *testing.T) {
	runs := 0
	Watch(t.Context(), &corev1.Probe{}, func(context.Context) error { runs++; return errors.New("no") },
		func(error) bool { return false })
	if runs != 1 {
		t.Errorf("%d runs, want 1", runs)
	}
}

func TestActions(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "example.com" || r.Header.Get("X-Key") != "v" {
			w.WriteHeader(http.StatusTeapot)
		}
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	host, portText, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	c := &corev1.Container{Name: "c", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}
	get := func(path string, port intstr.IntOrString) error {
		return HTTPGet(t.Context(), host, c, &corev1.HTTPGetAction{
			Path: path, Port: port,
			HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "example.com"}, {Name: "X-Key", Value: "v"}},
		})
	}
	tcp := func(port intstr.IntOrString) error {
		return TCPSocket(t.Context(), host, c, &corev1.TCPSocketAction{Port: port})
	}
	checked := health.NewServer()
	checked.SetServingStatus("idle", healthpb.HealthCheckResponse_NOT_SERVING)
	checks := grpc.NewServer()
	healthpb.RegisterHealthServer(checks, checked)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = checks.Serve(listener) }()
	defer checks.Stop()
	rpc := func(service string) error {
		return GRPC(t.Context(), host, &corev1.GRPCAction{
			Port:    int32(listener.Addr().(*net.TCPAddr).Port),
			Service: &service,
		})
	}
	for name, tc := range map[string]struct {
		err error
		ok  bool
	}{
		"httpGet":                {get("/", intstr.FromInt32(int32(port))), true},
		"httpGet by port name":   {get("", intstr.FromString("web")), true},
		"httpGet of an error":    {get("/broken", intstr.FromString("web")), false},
		"httpGet, no such port":  {get("/", intstr.FromString("admin")), false},
		"tcpSocket":              {tcp(intstr.FromString("web")), true},
		"tcpSocket, closed port": {tcp(intstr.FromInt32(1)), false},
		"grpc":                   {rpc(""), true},
		"grpc, not serving":      {rpc("idle"), false},
		"grpc, no such service":  {rpc("absent"), false},
		"grpc, no such server":   {GRPC(t.Context(), host, &corev1.GRPCAction{Port: 1}), false},
	} {
		if (tc.err == nil) != tc.ok {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
}
