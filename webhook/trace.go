package webhook

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	admissionv1 "k8s.io/api/admission/v1"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "gatehouse/webhook"

// tracerOf returns the tracer of a provider; one that does nothing if it is nil.
func tracerOf(provider trace.TracerProvider) trace.Tracer {
	if provider == nil {
		provider = noop.NewTracerProvider()
	}
	return provider.Tracer(tracerName)
}

// span begins the span of a request. If the API server traces too, it is below the span of the API server's call.
func (e *endpoint) span(r *http.Request) (context.Context, trace.Span) {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	return e.tracer.Start(ctx, "admission "+e.name, trace.WithSpanKind(trace.SpanKindServer))
}

// stage begins a span for a part of what a request needs.
func stage(ctx context.Context, name string) (context.Context, trace.Span) {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(tracerName).Start(ctx, name)
}

// describe adds to a span what was asked and answered. The request is nil if it is unknown, and the response if there is
// none.
func describe(span trace.Span, request *admissionv1.AdmissionRequest, response *admissionv1.AdmissionResponse, err error) {
	if !span.IsRecording() {
		return
	}
	if request != nil {
		span.SetAttributes(attribute.String("k8s.admission.uid", string(request.UID)),
			attribute.String("k8s.admission.operation", string(request.Operation)),
			attribute.String("k8s.object.group", request.Kind.Group), attribute.String("k8s.object.kind", request.Kind.Kind),
			attribute.String("k8s.namespace.name", request.Namespace), attribute.String("k8s.object.name", request.Name))
	}
	if err != nil {
		span.SetAttributes(attribute.String("gatehouse.answer", string(failed)), attribute.String("gatehouse.cause", causeOf(err)))
		span.SetStatus(codes.Error, err.Error())
		return
	}
	span.SetAttributes(attribute.String("gatehouse.answer", string(outcomeOf(response))),
		attribute.Int("gatehouse.warnings", len(response.Warnings)))
}
