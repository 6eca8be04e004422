package main

import (
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"gatehouse/api/config"
	"gatehouse/controller/kube"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// receiver is a collector that keeps what it gets.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	got chan *tracepb.ResourceSpans
}

func (r *receiver) Export(_ context.Context, in *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	for _, spans := range in.GetResourceSpans() {
		r.got <- spans
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// noNamespaces has no Namespace.
type noNamespaces struct{ client.Reader }

func (noNamespaces) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, key.Name)
}

// TestTraces: where the environment names a collector, it gets a span for each request, below the span of the API server,
// with what was asked and answered, and the parts of the work below it.
func TestTraces(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{got: make(chan *tracepb.ResourceSpans, 16)}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())
	environment := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + listener.Addr().String(), "POD_NAME": "gatehouse-0"}
	spans, err := newTraces(t.Context(), func(name string) string { return environment[name] }, testr.New(t))
	if err != nil {
		t.Fatal(err)
	}
	const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	admit(t, spans, caller, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"CREATE",
"namespace":"shop","name":"r","kind":{"group":"gateway.networking.k8s.io","version":"v1","kind":"HTTPRoute"},
"object":{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"r","namespace":"shop"},"spec":{}}}}`)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := spans.Start(ended); err != nil {
		t.Fatal(err)
	}
	close(r.got)
	got, parents, names := map[string]map[string]string{}, map[string]string{}, map[string]string{}
	for resource := range r.got {
		if text := resource.GetResource().String(); !strings.Contains(text, "gatehouse-0") {
			t.Errorf("the spans are of %s", text)
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				if trace := hex.EncodeToString(span.GetTraceId()); !strings.Contains(caller, trace) {
					t.Errorf("span %s is in trace %s", span.GetName(), trace)
				}
				attributes := map[string]string{}
				for _, a := range span.GetAttributes() {
					attributes[a.GetKey()] = a.GetValue().GetStringValue()
				}
				got[span.GetName()] = attributes
				names[hex.EncodeToString(span.GetSpanId())] = span.GetName()
				parents[span.GetName()] = hex.EncodeToString(span.GetParentSpanId())
			}
		}
	}
	if diff := cmp.Diff(map[string]map[string]string{
		"wait for a turn": {}, "try the change": {},
		"admission validate": {
			"k8s.admission.uid": "u1", "k8s.admission.operation": "CREATE", "k8s.object.group": "gateway.networking.k8s.io",
			"k8s.object.kind": "HTTPRoute", "k8s.namespace.name": "shop", "k8s.object.name": "r",
			"gatehouse.answer": "admitted", "gatehouse.warnings": "",
		},
	}, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if parents["admission validate"] != "b7ad6b7169203331" || names[parents["try the change"]] != "admission validate" {
		t.Errorf("the parents are %v of %v", parents, names)
	}
}

// admit sends a review to the webhook, as a part of the trace of the caller.
func admit(t *testing.T, spans *traces, caller, review string) {
	t.Helper()
	tables, err := newTables(config.Default(), translator.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	world := translator.NewWorld(tables)
	err = webhook.Register(ctrlwebhook.NewServer(ctrlwebhook.Options{WebhookMux: mux}), webhook.Options{
		Trier: webhook.TrierFunc(func(ctx context.Context, o client.Object) ([]translator.Finding, error) {
			return world.Try(ctx, o)
		}),
		Scheme: kube.NewScheme(), Namespaces: noNamespaces{}, Traces: spans, Log: testr.New(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	page := httptest.NewServer(mux)
	defer page.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page.URL+webhook.ValidatePath, strings.NewReader(review))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Traceparent", caller)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
		t.Errorf("status %d", response.StatusCode)
	}
}

// TestTracesAreOff: without an endpoint nothing is recorded, and a protocol that is not served is refused.
func TestTracesAreOff(t *testing.T) {
	for _, environment := range []map[string]string{
		{},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
	} {
		spans, err := newTraces(t.Context(), func(name string) string { return environment[name] }, testr.New(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, span := spans.Tracer("test").Start(t.Context(), "any"); span.IsRecording() {
			t.Errorf("%v: a span is recorded", environment)
		}
	}
	_, err := newTraces(t.Context(), func(name string) string {
		return map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		}[name]
	}, testr.New(t))
	if err == nil || !strings.Contains(err.Error(), `OTEL_EXPORTER_OTLP_PROTOCOL is "http/protobuf", which is not served: set it to grpc`) {
		t.Errorf("another protocol: %v", err)
	}
}
