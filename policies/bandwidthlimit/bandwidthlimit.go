// Package bandwidthlimit is the bandwidthLimit part of a BackendTrafficPolicy: how fast bodies are forwarded.
package bandwidthlimit

import (
	"math"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	bandwidthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	// filter is the HTTP filter that becomes the limits of a route, because Envoy's own filter has the same limit for
	// both directions. Each route has its own configuration of it: routes that share one would share its limits.
	filter = "envoy.filters.http.composite/bandwidth_limit"
	// limiter begins the names of the filters that it becomes.
	limiter = "envoy.filters.http.bandwidth_limit/"
	kibi    = 1024
)

// Feature is the bandwidthLimit part.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:      "bandwidthLimit",
	Check:     check,
	Route:     route,
	Effective: effective,
	Filters:   []feature.Filter{{Name: filter, Config: feature.Composite()}},
}

// units are the times of limits.
var units = map[v1alpha1.BandwidthLimitUnit]time.Duration{
	v1alpha1.BandwidthLimitUnitSecond: time.Second,
	v1alpha1.BandwidthLimitUnitMinute: time.Minute,
	v1alpha1.BandwidthLimitUnitHour:   time.Hour,
}

func check(spec *v1alpha1.BackendTrafficPolicySpec) (problems []verdict.Problem) {
	limit := spec.BandwidthLimit
	if limit == nil {
		return nil
	}
	if limit.Request == nil && limit.Response == nil {
		return []verdict.Problem{feature.Invalid("bandwidthLimit", "there is no limit: set request or response, or remove bandwidthLimit")}
	}
	if limit.Request != nil {
		problems = checkLimit("bandwidthLimit.request.limit", &limit.Request.Limit)
	}
	if limit.Response != nil {
		problems = append(problems, checkLimit("bandwidthLimit.response.limit", &limit.Response.Limit)...)
		if prefix := prefix(limit.Response); prefix != "" {
			problems = append(problems, feature.CheckToken("bandwidthLimit.response.responseTrailers.prefix", prefix,
				"beginning of the name of a trailer")...)
		}
	}
	return problems
}

func checkLimit(field string, limit *v1alpha1.BandwidthLimitValue) []verdict.Problem {
	problems := feature.CheckChoice(field+".unit", limit.Unit, units)
	if len(problems) == 0 && rate(limit) < 1 {
		problems = []verdict.Problem{feature.Invalid(field+".value",
			"%s each %s are less than 1Ki each second, which is the least: write more, or a shorter unit", &limit.Value,
			strings.ToLower(string(limit.Unit)))}
	}
	return slices.Concat(feature.CheckQuantity(field+".value", &limit.Value, 1, math.MaxInt64/kibi, "1Mi"), problems)
}

// rate is a limit in whole kibibytes each second, 0 if it is not known.
func rate(limit *v1alpha1.BandwidthLimitValue) uint64 {
	seconds := int64(units[limit.Unit] / time.Second)
	if seconds == 0 || limit.Value.Value() < 0 {
		return 0
	}
	return uint64(limit.Value.Value() / seconds / kibi)
}

func prefix(r *v1alpha1.ResponseBandwidthLimit) string {
	if r.ResponseTrailers == nil {
		return ""
	}
	return ptr.Deref(r.ResponseTrailers.Prefix, "")
}

func route(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, route *feature.Route) {
	limit := spec.BandwidthLimit
	if limit == nil || len(check(spec)) > 0 {
		return
	}
	var filters []*corev3.TypedExtensionConfig
	if r := limit.Response; r != nil {
		filters = append(filters, feature.Extension(limiter+"response", &bandwidthv3.BandwidthLimit{
			StatPrefix: "response", EnableMode: bandwidthv3.BandwidthLimit_RESPONSE,
			LimitKbps:              wrapperspb.UInt64(rate(&r.Limit)),
			EnableResponseTrailers: r.ResponseTrailers != nil, ResponseTrailerPrefix: prefix(r),
		}))
	}
	if r := limit.Request; r != nil { // The last one, because it waits (feature.Whole).
		filters = append(filters, feature.Extension(limiter+"request", &bandwidthv3.BandwidthLimit{
			StatPrefix: "request", EnableMode: bandwidthv3.BandwidthLimit_REQUEST,
			LimitKbps: wrapperspb.UInt64(rate(&r.Limit)),
		}))
	}
	feature.PerRoute(route.Route, filter, feature.Whole(filters...))
}

func effective(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
	limit := spec.BandwidthLimit
	if limit == nil || len(check(spec)) > 0 {
		return
	}
	e.Bandwidth = &feature.Bandwidth{}
	if limit.Request != nil {
		e.Bandwidth.Request = new(int64(rate(&limit.Request.Limit)))
	}
	if limit.Response != nil {
		e.Bandwidth.Response = new(int64(rate(&limit.Response.Limit)))
	}
}
