package loadbalancer

import (
	"fmt"
	"strings"

	utilizationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// reports are the response headers in which endpoints report their load (ORCA).
var reports = []string{"endpoint-load-metrics", "endpoint-load-metrics-bin"}

// percent is the number of per cent of a whole.
const percent = 100

func checkUtilization(field string, lb *v1alpha1.LoadBalancer) []verdict.Problem {
	u := lb.BackendUtilization
	if u == nil {
		return nil
	}
	problems := feature.CheckDuration(field+".blackoutPeriod", u.BlackoutPeriod)
	problems = append(problems, feature.CheckDuration(field+".weightExpirationPeriod", u.WeightExpirationPeriod)...)
	problems = append(problems, feature.CheckDuration(field+".weightUpdatePeriod", u.WeightUpdatePeriod)...)
	for i, name := range u.MetricNamesForComputingUtilization {
		if name == "" {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s.metricNamesForComputingUtilization[%d]", field, i),
				"the name is empty: write the name of a reported value, such as named_metrics.queue"))
		}
	}
	if oob := u.OutOfBand; oob != nil {
		problems = append(problems, feature.CheckPositive(field+".outOfBand.reportingPeriod", oob.ReportingPeriod, "10s")...)
		if p := oob.Port; p != nil && (*p < 1 || *p > 65535) {
			problems = append(problems, feature.Invalid(field+".outOfBand.port", "%d is not a port: write a number from 1 to 65535",
				*p))
		}
		if a := oob.Authority; a != nil && strings.ContainsAny(*a, "\r\n\x00") {
			problems = append(problems, feature.Invalid(field+".outOfBand.authority",
				"%q cannot be a host: remove line breaks and NUL", *a))
		}
	}
	return problems
}

// utilization is the policy that gives endpoints shares by the load that they report.
func utilization(lb *v1alpha1.LoadBalancer) *utilizationv3.ClientSideWeightedRoundRobin {
	out := &utilizationv3.ClientSideWeightedRoundRobin{SlowStartConfig: slowStart(lb)}
	u := lb.BackendUtilization
	if u == nil {
		return out
	}
	out.BlackoutPeriod = feature.Duration(u.BlackoutPeriod)
	out.WeightExpirationPeriod = feature.Duration(u.WeightExpirationPeriod)
	out.WeightUpdatePeriod = feature.Duration(u.WeightUpdatePeriod)
	out.MetricNamesForComputingUtilization = u.MetricNamesForComputingUtilization
	if p := u.ErrorUtilizationPenaltyPercent; p != nil {
		out.ErrorUtilizationPenalty = wrapperspb.Float(float32(*p) / percent)
	}
	if oob := u.OutOfBand; oob != nil {
		out.EnableOobLoadReport = wrapperspb.Bool(true)
		out.OobReportingPeriod = feature.Duration(oob.ReportingPeriod)
		if oob.Port != nil || oob.Authority != nil {
			out.OobReportingConfig = &commonv3.OrcaOobReportingConfig{}
		}
		if oob.Port != nil && *oob.Port > 0 {
			out.OobReportingConfig.PortValue = uint32(*oob.Port)
		}
		if oob.Authority != nil {
			out.OobReportingConfig.Authority = *oob.Authority
		}
	}
	return out
}

// hideReports keeps the load of endpoints from clients.
func hideReports(lb *v1alpha1.LoadBalancer, route *feature.Route) {
	if lb == nil || lb.Type != v1alpha1.BackendUtilizationLoadBalancerType {
		return
	}
	if u := lb.BackendUtilization; u != nil && u.KeepResponseHeaders != nil && *u.KeepResponseHeaders {
		return
	}
	route.ResponseHeadersToRemove = append(route.ResponseHeadersToRemove, reports...)
}
