package config

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/duration"
)

// DefaultRateLimitTimeout is the default of rateLimit.timeout, as in Envoy Gateway.
const DefaultRateLimitTimeout = "20ms"

// RateLimit has the control plane run the service that counts requests for all Envoys. Without it, policies with global
// limits are not accepted, and what they cover is not served.
type RateLimit struct {
	// Backend is where the service counts.
	Backend RateLimitBackend `json:"backend"`

	// Timeout is how long Envoy waits for an answer of the service. Default: 20ms.
	Timeout gwapiv1.Duration `json:"timeout,omitempty"`

	// FailClosed denies requests (500) about which the service does not answer in time, or answers that it cannot count.
	// Default: false, which serves them.
	FailClosed bool `json:"failClosed,omitempty"`

	// Telemetry says what the service tells about itself.
	Telemetry RateLimitTelemetry `json:"telemetry,omitzero"`
}

// RateLimitBackend is where the service counts.
type RateLimitBackend struct {
	// Type is Redis.
	Type RateLimitBackendType `json:"type"`

	// Redis is the Redis of type Redis.
	Redis RateLimitRedis `json:"redis,omitzero"`
}

// RateLimitBackendType is what the service counts in.
type RateLimitBackendType string

// RateLimitBackendRedis counts in a Redis.
const RateLimitBackendRedis RateLimitBackendType = "Redis"

// RateLimitRedis is a Redis. One of URL and URLRef is set.
type RateLimitRedis struct {
	// URL is its host and port, or several of them with commas in between, such as redis.redis.svc:6379.
	URL string `json:"url,omitempty"`

	// URLRef is a Secret of the control plane's namespace with what URL would be.
	URLRef *RateLimitURLRef `json:"urlRef,omitempty"`

	// TLS has the service talk to it with TLS.
	TLS *RateLimitRedisTLS `json:"tls,omitempty"`
}

// RateLimitURLRef refers to the URL of a Redis.
type RateLimitURLRef struct {
	// SecretKeyRef is the Secret and its key.
	SecretKeyRef *corev1.SecretKeySelector `json:"secretKeyRef,omitempty"`
}

// RateLimitRedisTLS is how the service talks to a Redis with TLS. It trusts the CAs of its image.
type RateLimitRedisTLS struct {
	// CertificateRef is the Secret of type kubernetes.io/tls, in the control plane's namespace, with the certificate that
	// the service presents. Default: none.
	CertificateRef *gwapiv1.SecretObjectReference `json:"certificateRef,omitempty"`
}

// RateLimitTelemetry says what the service tells about itself.
type RateLimitTelemetry struct {
	// Metrics are its metrics.
	Metrics RateLimitMetrics `json:"metrics,omitzero"`
}

// RateLimitMetrics are the metrics of the service.
type RateLimitMetrics struct {
	// Prometheus serves them on port 19001 under /metrics.
	Prometheus RateLimitPrometheus `json:"prometheus,omitzero"`
}

// RateLimitPrometheus serves metrics.
type RateLimitPrometheus struct {
	// Disable serves none. Default: false.
	Disable bool `json:"disable,omitempty"`
}

// Wait is the timeout of a validated configuration.
func (r *RateLimit) Wait() time.Duration {
	d, _ := duration.Parse(r.Timeout)
	return d
}

func (r *RateLimit) validate(path *field.Path) (errs field.ErrorList) {
	if r == nil {
		return nil
	}
	if r.Wait() == 0 {
		errs = append(errs, field.Invalid(path.Child("timeout"), r.Timeout,
			"write a duration of more than zero in h, m, s or ms, such as "+DefaultRateLimitTimeout))
	}
	backend := path.Child("backend")
	errs = append(errs, oneOf(backend.Child("type"), r.Backend.Type, RateLimitBackendRedis)...)
	return append(errs, r.Backend.Redis.validate(backend.Child("redis"))...)
}

func (r *RateLimitRedis) validate(path *field.Path) (errs field.ErrorList) {
	switch {
	case r.URL == "" && r.URLRef == nil:
		errs = append(errs, field.Required(path.Child("url"), "write the host and the port of the Redis, or urlRef"))
	case r.URL != "" && r.URLRef != nil:
		errs = append(errs, field.Invalid(path.Child("urlRef"), r.URL, "the url is written already: remove one of both"))
	}
	errs = append(errs, r.URLRef.validate(path.Child("urlRef", "secretKeyRef"))...)
	return append(errs, r.TLS.validate(path.Child("tls", "certificateRef"))...)
}

func (r *RateLimitURLRef) validate(at *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	switch s := r.SecretKeyRef; {
	case s == nil || s.Name == "" || s.Key == "":
		return field.ErrorList{field.Required(at, "write the name of a Secret and its key")}
	case s.Optional != nil && *s.Optional:
		return field.ErrorList{field.Invalid(at.Child("optional"), true, "without the url nothing counts: remove it")}
	}
	return nil
}

func (r *RateLimitRedisTLS) validate(at *field.Path) (errs field.ErrorList) {
	if r == nil || r.CertificateRef == nil {
		return nil
	}
	ref := r.CertificateRef
	if ref.Kind != nil && *ref.Kind != "Secret" || ref.Group != nil && *ref.Group != "" || ref.Name == "" {
		errs = append(errs, field.Invalid(at, ref.Name, "write the name of a Secret"))
	}
	if ref.Namespace != nil {
		errs = append(errs, field.Invalid(at.Child("namespace"), *ref.Namespace,
			"the Secret is in the namespace of the control plane: remove it"))
	}
	return errs
}
