package main

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// traces sends spans to a collector.
type traces struct {
	trace.TracerProvider
	shutdown func(context.Context) error
}

// flushTime is how long the last spans may take to be sent.
const flushTime = 3 * time.Second

// newTraces returns traces as the environment variables of OpenTelemetry describe them, with the protocol OTLP over
// gRPC. They are off if no endpoint is set.
func newTraces(ctx context.Context, getenv func(string) string, log logr.Logger) (*traces, error) {
	endpoint := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") + getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if endpoint == "" || getenv("OTEL_SDK_DISABLED") == "true" || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return &traces{noop.NewTracerProvider(), func(context.Context) error { return nil }}, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if protocol := getenv(name); protocol != "" && protocol != "grpc" {
			return nil, fmt.Errorf("%s is %q, which is not served: set it to grpc, and the port to that of OTLP over gRPC", name, protocol)
		}
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Error(err, "spans are not sent") }))
	exporter, err := otlptracegrpc.New(ctx) // It reads the environment, and connects when there is something to send.
	if err != nil {
		return nil, fmt.Errorf("make the exporter of traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "gatehouse"),
		attribute.String("k8s.pod.name", getenv("POD_NAME")),
		attribute.String("k8s.namespace.name", getenv("POD_NAMESPACE"))), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the source of traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return &traces{provider, provider.Shutdown}, nil
}

// Start sends what is left when the context ends.
func (s *traces) Start(ctx context.Context) error {
	<-ctx.Done()
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	_ = s.shutdown(limit) // The handler has logged it.
	return nil
}

// NeedLeaderElection reports that every replica sends its own spans.
func (s *traces) NeedLeaderElection() bool { return false }
