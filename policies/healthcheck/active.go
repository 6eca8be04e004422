package healthcheck

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// longest is the longest time that the first answer of an endpoint may take, and the longest wait before it is asked.
// Envoy changes no other cluster until then.
const longest = time.Minute

// minStatus and maxStatus are the limits of status codes in Envoy.
const (
	minStatus = 100
	maxStatus = 599
)

var checkers = map[v1alpha1.ActiveHealthCheckerType]func(field string, a *v1alpha1.ActiveHealthCheck) []verdict.Problem{
	v1alpha1.ActiveHealthCheckerTypeHTTP: checkHTTP,
	v1alpha1.ActiveHealthCheckerTypeTCP:  checkTCP,
	v1alpha1.ActiveHealthCheckerTypeGRPC: checkGRPC,
}

var methods = map[string]corev3.RequestMethod{
	"GET": corev3.RequestMethod_GET, "HEAD": corev3.RequestMethod_HEAD, "POST": corev3.RequestMethod_POST,
	"PUT": corev3.RequestMethod_PUT, "DELETE": corev3.RequestMethod_DELETE, "OPTIONS": corev3.RequestMethod_OPTIONS,
	"TRACE": corev3.RequestMethod_TRACE, "PATCH": corev3.RequestMethod_PATCH,
}

func checkActive(field string, a *v1alpha1.ActiveHealthCheck) []verdict.Problem {
	if a == nil {
		return nil
	}
	problems := slices.Concat(
		checkLength(field+".timeout", a.Timeout), feature.CheckPositive(field+".timeout", a.Timeout, defaultTimeout),
		feature.CheckPositive(field+".interval", a.Interval, defaultInterval),
		checkLength(field+".initialJitter", a.InitialJitter), feature.CheckDuration(field+".initialJitter", a.InitialJitter),
		checkThreshold(field+".unhealthyThreshold", a.UnhealthyThreshold),
		checkThreshold(field+".healthyThreshold", a.HealthyThreshold),
		checkLog(field+".healthCheckLog", a.HealthCheckLog),
	)
	if o := a.Overrides; o != nil && (o.Port < 1 || o.Port > 65535) {
		problems = append(problems, feature.Invalid(field+".overrides.port",
			"%d is not a port: write a number from 1 to 65535", o.Port))
	}
	if unknown := feature.CheckChoice(field+".type", a.Type, checkers); len(unknown) > 0 {
		return append(problems, unknown...)
	}
	return append(problems, checkers[a.Type](field, a)...)
}

func checkLength(field string, d *gwapiv1.Duration) []verdict.Problem {
	if feature.Duration(d).AsDuration() <= longest {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field,
		"%q is too long, because Envoy changes no other cluster while it waits for the first answer: write at most 1m", *d)}
}

func checkThreshold(field string, n *uint32) []verdict.Problem {
	if n == nil || *n > 0 {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field, "0 is out of range: write a number from 1 on")}
}

func checkHTTP(field string, a *v1alpha1.ActiveHealthCheck) []verdict.Problem {
	h := a.HTTP
	field += ".http"
	if h == nil {
		return []verdict.Problem{feature.Invalid(field, "type is HTTP, so http must say what is asked: add it with a path")}
	}
	problems := slices.Concat(
		checkVisible(field+".path", h.Path),
		checkStatuses(field+".expectedStatuses", h.ExpectedStatuses),
		checkStatuses(field+".retriableStatuses", h.RetriableStatuses),
		checkPayload(field+".expectedResponse", h.ExpectedResponse), checkPayload(field+".requestBody", h.RequestBody),
	)
	if !strings.HasPrefix(h.Path, "/") {
		problems = append(problems, feature.Invalid(field+".path", "%q is not a path: begin it with /", h.Path))
	}
	if h.Hostname != nil {
		problems = append(problems, checkVisible(field+".hostname", *h.Hostname)...)
	}
	name := methodOf(h)
	if _, ok := methods[name]; !ok {
		problems = append(problems, feature.CheckChoice(field+".method", name, methods)...)
	}
	if h.RequestBody != nil && name != "POST" && name != "PUT" {
		problems = append(problems, feature.Invalid(field+".requestBody",
			"requestBody works only with method POST or PUT, not with %s: remove it or change the method", name))
	}
	return problems
}

// checkVisible finds a text that cannot be a part of the first lines of a request.
func checkVisible(field, text string) []verdict.Problem {
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field,
		"%q cannot be sent: write visible ASCII characters, and others percent-encoded", text)}
}

func methodOf(h *v1alpha1.HTTPActiveHealthChecker) string {
	if h.Method == nil {
		return "GET"
	}
	return strings.ToUpper(*h.Method)
}

func checkStatuses(field string, statuses []v1alpha1.HTTPStatus) []verdict.Problem {
	for i, status := range statuses {
		if status < minStatus || status > maxStatus {
			return []verdict.Problem{feature.Invalid(fmt.Sprintf("%s[%d]", field, i),
				"%d is not a status code: write a number from %d to %d", status, minStatus, maxStatus)}
		}
	}
	return nil
}

func checkTCP(field string, a *v1alpha1.ActiveHealthCheck) []verdict.Problem {
	if a.TCP == nil {
		return []verdict.Problem{feature.Invalid(field+".tcp",
			"type is TCP, so tcp must be set: write {} to open a connection only")}
	}
	return append(checkPayload(field+".tcp.send", a.TCP.Send), checkPayload(field+".tcp.receive", a.TCP.Receive)...)
}

func checkGRPC(field string, a *v1alpha1.ActiveHealthCheck) []verdict.Problem {
	if a.GRPC == nil || a.GRPC.Service == nil || *a.GRPC.Service == "" {
		return nil
	}
	return checkVisible(field+".grpc.service", *a.GRPC.Service)
}

func checkPayload(field string, p *v1alpha1.ActiveHealthCheckPayload) []verdict.Problem {
	if p == nil || payload(p) != nil {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field,
		"there are no bytes for type %q: write text with type Text, or binary in Base64 with type Binary", p.Type)}
}

// payload is nil if there are no bytes. Envoy takes text in hexadecimal digits.
func payload(p *v1alpha1.ActiveHealthCheckPayload) *corev3.HealthCheck_Payload {
	var content []byte
	switch {
	case p == nil:
	case p.Type == v1alpha1.ActiveHealthCheckPayloadTypeText && p.Text != nil:
		content = []byte(*p.Text)
	case p.Type == v1alpha1.ActiveHealthCheckPayloadTypeBinary:
		content = p.Binary
	}
	if len(content) == 0 {
		return nil
	}
	return &corev3.HealthCheck_Payload{Payload: &corev3.HealthCheck_Payload_Text{Text: hex.EncodeToString(content)}}
}

func payloads(p *v1alpha1.ActiveHealthCheckPayload) []*corev3.HealthCheck_Payload {
	if one := payload(p); one != nil {
		return []*corev3.HealthCheck_Payload{one}
	}
	return nil
}

// activate sets the health check of a cluster.
func activate(a *v1alpha1.ActiveHealthCheck, upstream *feature.Upstream) {
	if _, known := checkers[a.Type]; !known || len(checkers[a.Type]("", a)) > 0 {
		return
	}
	interval := duration(a.Interval, defaultInterval)
	out := &corev3.HealthCheck{
		Timeout: duration(a.Timeout, defaultTimeout), Interval: interval, InitialJitter: feature.Duration(a.InitialJitter),
		// Otherwise a cluster that has had no requests yet is checked once a minute, and its new endpoints wait for that.
		NoTrafficInterval:  interval,
		UnhealthyThreshold: number(a.UnhealthyThreshold, defaultUnhealthy),
		HealthyThreshold:   number(a.HealthyThreshold, defaultHealthy),
	}
	switch a.Type {
	case v1alpha1.ActiveHealthCheckerTypeHTTP:
		out.HealthChecker = overHTTP(a.HTTP, upstream)
	case v1alpha1.ActiveHealthCheckerTypeTCP:
		out.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{
			Send: payload(a.TCP.Send), Receive: payloads(a.TCP.Receive),
		}}
	case v1alpha1.ActiveHealthCheckerTypeGRPC:
		grpc := &corev3.HealthCheck_GrpcHealthCheck{Authority: upstream.Host}
		if a.GRPC != nil && a.GRPC.Service != nil {
			grpc.ServiceName = *a.GRPC.Service
		}
		upstream.Endpoints.CheckHosts = true
		out.HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: grpc}
	}
	if a.Overrides != nil && a.Overrides.Port > 0 {
		upstream.Endpoints.CheckPort = uint32(a.Overrides.Port)
	}
	writeEvents(a.HealthCheckLog, out)
	upstream.Cluster.HealthChecks = []*corev3.HealthCheck{out}
}

func overHTTP(h *v1alpha1.HTTPActiveHealthChecker, upstream *feature.Upstream) *corev3.HealthCheck_HttpHealthCheck_ {
	out := &corev3.HealthCheck_HttpHealthCheck{
		Host: upstream.Host, Path: h.Path, Method: methods[methodOf(h)], Send: payload(h.RequestBody),
		Receive: payloads(h.ExpectedResponse), ExpectedStatuses: ranges(h.ExpectedStatuses),
		RetriableStatuses: ranges(h.RetriableStatuses),
	}
	if h.Hostname != nil {
		out.Host = *h.Hostname
	} else {
		upstream.Endpoints.CheckHosts = true
	}
	return &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: out}
}

// ranges are the status codes as ranges without their ends, as few as possible.
func ranges(statuses []v1alpha1.HTTPStatus) []*typev3.Int64Range {
	sorted := slices.Sorted(slices.Values(statuses))
	var out []*typev3.Int64Range
	for _, status := range slices.Compact(sorted) {
		if last := len(out) - 1; last >= 0 && out[last].End == int64(status) {
			out[last].End++
			continue
		}
		out = append(out, &typev3.Int64Range{Start: int64(status), End: int64(status) + 1})
	}
	return out
}
