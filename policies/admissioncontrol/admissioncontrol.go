// Package admissioncontrol is the admissionControl part of a BackendTrafficPolicy: some requests are rejected while too
// many fail.
package admissioncontrol

import (
	"fmt"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	admissionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the admissionControl part. It is a filter of the cluster, so it costs requests to other clusters nothing.
var Feature = feature.Feature[v1alpha1.BackendTrafficPolicySpec]{
	Name:    "admissionControl",
	Check:   check,
	Cluster: cluster,
	Effective: func(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if c := spec.AdmissionControl; c != nil {
			e.AdmissionControl = &feature.AdmissionControl{MinSuccessRate: int64(ptr.Deref(c.MinSuccessRate, defaultRate))}
		}
	},
}

// Defaults of the fields, as the API states them.
const (
	defaultRate       = 95
	defaultAggression = 1
	defaultRejection  = 80
	all               = 100
)

// grpcCodes are the status codes of gRPC, each at its number.
var grpcCodes = []v1alpha1.GRPCSuccessCode{
	"Ok", "Cancelled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
	"ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
	"DataLoss", "Unauthenticated",
}

func check(spec *v1alpha1.BackendTrafficPolicySpec) (problems []verdict.Problem) {
	c := spec.AdmissionControl
	if c == nil {
		return nil
	}
	const field = "admissionControl."
	problems = feature.CheckDuration(field+"samplingWindow", c.SamplingWindow)
	if d := feature.Duration(c.SamplingWindow); d != nil && d.AsDuration() < time.Second {
		problems = append(problems, feature.Invalid(field+"samplingWindow", "%q is too short: write 1s or more", *c.SamplingWindow))
	}
	if n := ptr.Deref(c.MinSuccessRate, defaultRate); n < 1 || n > all {
		problems = append(problems, feature.Invalid(field+"minSuccessRate", "%d is not a share in percent: write 1 to 100", n))
	}
	if n := ptr.Deref(c.RejectionAggression, defaultAggression); n < 1 {
		problems = append(problems, feature.Invalid(field+"rejectionAggression", "%d is too small: write 1 or more", n))
	}
	if n := ptr.Deref(c.MaxRejectionPercent, defaultRejection); n > all {
		problems = append(problems, feature.Invalid(field+"maxRejectionPercent", "%d is not a share in percent: write 0 to 100", n))
	}
	return append(problems, checkCriteria(field+"successCriteria", c.SuccessCriteria)...)
}

func checkCriteria(field string, c *v1alpha1.AdmissionControlSuccessCriteria) (problems []verdict.Problem) {
	if c == nil {
		return nil
	}
	if c.HTTP != nil {
		for i, status := range c.HTTP.StatusCodes {
			if status < 100 || status > 599 {
				problems = append(problems, feature.Invalid(fmt.Sprintf("%s.http.statusCodes[%d]", field, i),
					"%d is not an HTTP status code: write one from 100 to 599", status))
			}
		}
	}
	if c.GRPC != nil {
		for i, status := range c.GRPC.StatusCodes {
			if !slices.Contains(grpcCodes, status) {
				problems = append(problems, feature.Invalid(fmt.Sprintf("%s.grpc.statusCodes[%d]", field, i),
					"%q is not a status code of gRPC: write %s", status, verdict.Or(slices.Clone(grpcCodes))))
			}
		}
	}
	return problems
}

func cluster(spec *v1alpha1.BackendTrafficPolicySpec, _ feature.Have, upstream *feature.Upstream) {
	c := spec.AdmissionControl
	if c == nil || len(check(spec)) > 0 {
		return
	}
	criteria := &admissionv3.AdmissionControl_SuccessCriteria{}
	if s := c.SuccessCriteria; s != nil {
		criteria.HttpCriteria, criteria.GrpcCriteria = httpCriteria(s.HTTP), grpcCriteria(s.GRPC)
	}
	config := &admissionv3.AdmissionControl{
		EvaluationCriteria:      &admissionv3.AdmissionControl_SuccessCriteria_{SuccessCriteria: criteria},
		SamplingWindow:          feature.Duration(c.SamplingWindow),
		SrThreshold:             percent(ptr.Deref(c.MinSuccessRate, defaultRate)),
		Aggression:              &corev3.RuntimeDouble{DefaultValue: float64(ptr.Deref(c.RejectionAggression, defaultAggression))},
		RpsThreshold:            &corev3.RuntimeUInt32{DefaultValue: ptr.Deref(c.MinRequestRate, 0)},
		MaxRejectionProbability: percent(ptr.Deref(c.MaxRejectionPercent, defaultRejection)),
	}
	upstream.AddFilter("envoy.filters.http.admission_control", config)
}

func percent(n uint32) *corev3.RuntimePercent {
	return &corev3.RuntimePercent{DefaultValue: &typev3.Percent{Value: float64(n)}}
}

func httpCriteria(c *v1alpha1.HTTPSuccessCriteria) *admissionv3.AdmissionControl_SuccessCriteria_HttpCriteria {
	if c == nil || len(c.StatusCodes) == 0 {
		return nil
	}
	out := &admissionv3.AdmissionControl_SuccessCriteria_HttpCriteria{}
	for _, status := range c.StatusCodes {
		out.HttpSuccessStatus = append(out.HttpSuccessStatus, &typev3.Int32Range{Start: int32(status), End: int32(status) + 1})
	}
	return out
}

func grpcCriteria(c *v1alpha1.GRPCSuccessCriteria) *admissionv3.AdmissionControl_SuccessCriteria_GrpcCriteria {
	if c == nil || len(c.StatusCodes) == 0 {
		return nil
	}
	out := &admissionv3.AdmissionControl_SuccessCriteria_GrpcCriteria{}
	for _, status := range c.StatusCodes {
		out.GrpcSuccessStatus = append(out.GrpcSuccessStatus, uint32(slices.Index(grpcCodes, status)))
	}
	return out
}
