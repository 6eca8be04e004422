// Package faultinjection is the faultInjection part of a BackendTrafficPolicy: requests are delayed or answered with an
// error, to test how clients cope.
package faultinjection

import (
	"slices"

	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// filter is the HTTP filter. It is another one than that which refuses TRACE on all routes.
const filter = "envoy.filters.http.fault"

// Feature is the faultInjection part.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:      "faultInjection",
	Check:     check,
	Route:     route,
	Effective: effective,
	Filters:   []feature.Filter{{Name: filter, Config: &faultv3.HTTPFault{}, Off: &faultv3.HTTPFault{}}},
}

// The statuses that Envoy can answer with.
const (
	leastStatus, mostStatus = 200, 599
	mostGRPCStatus          = 16
	all                     = 100
)

func check(spec *v1alpha1.BackendTrafficPolicySpec) []verdict.Problem {
	fault := spec.FaultInjection
	if fault == nil {
		return nil
	}
	if fault.Delay == nil && fault.Abort == nil {
		return []verdict.Problem{feature.Invalid("faultInjection", "there is no fault: set delay or abort, or remove faultInjection")}
	}
	var problems []verdict.Problem
	if d := fault.Delay; d != nil {
		problems = slices.Concat(checkShare("faultInjection.delay.percentage", d.Percentage),
			feature.CheckPositive("faultInjection.delay.fixedDelay", &d.FixedDelay, "no delay"))
	}
	if a := fault.Abort; a != nil {
		problems = slices.Concat(problems, checkShare("faultInjection.abort.percentage", a.Percentage), checkStatus(a))
	}
	return problems
}

func checkShare(field string, share *float32) []verdict.Problem {
	if s := ptr.Deref(share, all); s >= 0 && s <= all {
		return nil
	}
	return []verdict.Problem{feature.Invalid(field, "%v is not a share in percent: write a number from 0 to 100", *share)}
}

func checkStatus(a *v1alpha1.FaultInjectionAbort) []verdict.Problem {
	const field = "faultInjection.abort"
	switch {
	case (a.HTTPStatus == nil) == (a.GrpcStatus == nil):
		return []verdict.Problem{feature.Invalid(field, "an answer has one status: set httpStatus or grpcStatus")}
	case a.HTTPStatus != nil && (*a.HTTPStatus < leastStatus || *a.HTTPStatus > mostStatus):
		return []verdict.Problem{feature.Invalid(field+".httpStatus", "%d is not the status of an answer: write %d to %d",
			*a.HTTPStatus, leastStatus, mostStatus)}
	case a.GrpcStatus != nil && (*a.GrpcStatus < 0 || *a.GrpcStatus > mostGRPCStatus):
		return []verdict.Problem{feature.Invalid(field+".grpcStatus", "%d is not a status of gRPC: write 0 to %d",
			*a.GrpcStatus, mostGRPCStatus)}
	}
	return nil
}

func route(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, route *feature.Route) {
	fault := spec.FaultInjection
	if fault == nil || len(check(spec)) > 0 {
		return
	}
	config := &faultv3.HTTPFault{}
	if d := fault.Delay; d != nil {
		config.Delay = &faultcommonv3.FaultDelay{
			Percentage:         share(d.Percentage),
			FaultDelaySecifier: &faultcommonv3.FaultDelay_FixedDelay{FixedDelay: feature.Duration(&d.FixedDelay)},
		}
	}
	if a := fault.Abort; a != nil {
		config.Abort = &faultv3.FaultAbort{Percentage: share(a.Percentage)}
		if a.HTTPStatus != nil {
			config.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(*a.HTTPStatus)}
		} else {
			config.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: uint32(*a.GrpcStatus)}
		}
	}
	feature.PerRoute(route.Route, filter, config)
}

// share is a share of requests, to a hundredth of a percent of a percent.
func share(percent *float32) *typev3.FractionalPercent {
	const perPercent = 10_000
	return &typev3.FractionalPercent{
		Numerator: uint32(ptr.Deref(percent, all) * perPercent), Denominator: typev3.FractionalPercent_MILLION,
	}
}

func effective(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
	fault := spec.FaultInjection
	if fault == nil || len(check(spec)) > 0 {
		return
	}
	e.Faults = &feature.Faults{}
	if d := fault.Delay; d != nil {
		e.Faults.Delay = &metav1.Duration{Duration: feature.Duration(&d.FixedDelay).AsDuration()}
	}
	if a := fault.Abort; a != nil {
		e.Faults.StatusCode = code(a.HTTPStatus)
		e.Faults.GRPCStatus = code(a.GrpcStatus)
	}
}

func code(status *int32) *int64 {
	if status == nil {
		return nil
	}
	return new(int64(*status))
}
