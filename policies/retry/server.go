package retry

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// OfServer is the retry of requests that Envoy itself sends to a server, such as one for authorization, by the settings
// of its backends. It is nil if the settings are nil or have no retry. Limit is how long the server may take altogether.
//
// Such a retry has no status codes and no timeout of an attempt: Envoy ends an attempt after the longest interval
// between attempts (Http::Utility::convertCoreToRouteRetryPolicy). So that interval is the timeout, and the longest
// interval of the settings has no effect.
func OfServer(settings *v1alpha1.ClusterSettings, limit time.Duration) *corev3.RetryPolicy {
	if settings == nil || settings.Retry == nil {
		return nil
	}
	on, _ := retryOn(settings.Retry.RetryOn)
	base, attempt := defaultBase, limit
	if per := settings.Retry.PerRetry; per != nil {
		if per.BackOff != nil {
			base = baseInterval(per.BackOff)
		}
		if timeout := feature.Duration(per.Timeout).AsDuration(); timeout > 0 {
			attempt = timeout
		}
	}
	return &corev3.RetryPolicy{
		RetryOn: on, NumRetries: retries(settings.Retry),
		RetryBackOff: &corev3.BackoffStrategy{
			BaseInterval: durationpb.New(base), MaxInterval: durationpb.New(max(base, attempt)),
		},
	}
}
