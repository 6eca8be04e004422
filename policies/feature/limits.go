package feature

import (
	"time"

	configv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
)

// GlobalLimits are limits of requests that all Envoys have together. A service counts the requests, and Envoys ask it.
type GlobalLimits struct {
	// Config returns what the service must know of the limits, if a policy (namespace/name) wrote them. It is nil if the
	// service has them from other policies.
	Config func(policy string) *configv3.RateLimitConfig
}

// Limiter is the service that counts requests.
type Limiter struct {
	// Cluster is the cluster by which Envoy asks it. Envoy need not have it.
	Cluster string
	// Policy is the policy (namespace/name) that wrote the limits.
	Policy string
	// Timeout is how long Envoy waits for an answer. FailClosed reports whether requests are denied without one.
	Timeout    time.Duration
	FailClosed bool
}

// AddLimiter answers a need with the service.
func (h *Have) AddLimiter(field string, limiter Limiter) {
	if h.Limiters == nil {
		h.Limiters = map[string]Limiter{}
	}
	h.Limiters[field] = limiter
}
