// Package clientheaders is the headers part of a ClientTrafficPolicy: how headers of requests are read, and which ones are
// changed.
package clientheaders

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the headers part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:      "headers",
	Check:     check,
	Listener:  listener,
	Effective: effective,
}

// actions are Envoy's for names with underscores.
var actions = map[v1alpha1.WithUnderscoresAction]corev3.HttpProtocolOptions_HeadersWithUnderscoresAction{
	v1alpha1.WithUnderscoresActionAllow:         corev3.HttpProtocolOptions_ALLOW,
	v1alpha1.WithUnderscoresActionRejectRequest: corev3.HttpProtocolOptions_REJECT_REQUEST,
	v1alpha1.WithUnderscoresActionDropHeader:    corev3.HttpProtocolOptions_DROP_HEADER,
}

// requestID is whether Envoy makes x-request-id, and whether it keeps the client's.
type requestID struct{ generate, preserve bool }

var requestIDs = map[v1alpha1.RequestIDAction]requestID{
	v1alpha1.RequestIDPreserveOrGenerate: {generate: true, preserve: true},
	v1alpha1.RequestIDPreserve:           {preserve: true},
	v1alpha1.RequestIDGenerate:           {generate: true},
	v1alpha1.RequestIDDisable:            {},
}

var modes = map[v1alpha1.XFCCForwardMode]hcmv3.HttpConnectionManager_ForwardClientCertDetails{
	v1alpha1.XFCCSanitize:          hcmv3.HttpConnectionManager_SANITIZE,
	v1alpha1.XFCCForwardOnly:       hcmv3.HttpConnectionManager_FORWARD_ONLY,
	v1alpha1.XFCCAppendForward:     hcmv3.HttpConnectionManager_APPEND_FORWARD,
	v1alpha1.XFCCSanitizeSet:       hcmv3.HttpConnectionManager_SANITIZE_SET,
	v1alpha1.XFCCAlwaysForwardOnly: hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY,
}

// details set the parts of certificates that are added.
var details = map[v1alpha1.XFCCCertData]func(*hcmv3.HttpConnectionManager_SetCurrentClientCertDetails){
	v1alpha1.XFCCSubject: func(d *hcmv3.HttpConnectionManager_SetCurrentClientCertDetails) { d.Subject = wrapperspb.Bool(true) },
	v1alpha1.XFCCCert:    func(d *hcmv3.HttpConnectionManager_SetCurrentClientCertDetails) { d.Cert = true },
	v1alpha1.XFCCChain:   func(d *hcmv3.HttpConnectionManager_SetCurrentClientCertDetails) { d.Chain = true },
	v1alpha1.XFCCDNS:     func(d *hcmv3.HttpConnectionManager_SetCurrentClientCertDetails) { d.Dns = true },
	v1alpha1.XFCCURI:     func(d *hcmv3.HttpConnectionManager_SetCurrentClientCertDetails) { d.Uri = true },
}

// rateLimits are the headers that tell clients of rate limits.
var rateLimits = []string{"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}

// The limits of the headers of a request, in KiB.
const (
	minHeaders = 1
	maxHeaders = 8192
)

func check(spec *v1alpha1.ClientTrafficPolicySpec) (problems []verdict.Problem) {
	h := spec.Headers
	if h == nil {
		return nil
	}
	if h.WithUnderscoresAction != nil {
		problems = append(problems, feature.CheckChoice("headers.withUnderscoresAction", *h.WithUnderscoresAction, actions)...)
	}
	if h.RequestID != nil {
		problems = append(problems, feature.CheckChoice("headers.requestID", *h.RequestID, requestIDs)...)
		if h.PreserveXRequestID != nil {
			problems = append(problems, feature.Invalid("headers.preserveXRequestID",
				"it excludes requestID: remove it, since requestID says more"))
		}
	}
	if x := h.XForwardedClientCert; x != nil {
		problems = append(problems, checkForwarded(x)...)
	}
	if _, ok := maxKiB(h); !ok {
		problems = append(problems, feature.Invalid("headers.maxRequestHeaderLimit",
			"%s is out of range: write %dKi to %dKi", h.MaxRequestHeaderLimit, minHeaders, maxHeaders))
	}
	problems = append(problems, checkChanges("headers.earlyRequestHeaders", h.EarlyRequestHeaders)...)
	return append(problems, checkChanges("headers.lateResponseHeaders", h.LateResponseHeaders)...)
}

func checkForwarded(x *v1alpha1.XForwardedClientCert) (problems []verdict.Problem) {
	const field = "headers.xForwardedClientCert"
	mode := ptr.Deref(x.Mode, v1alpha1.XFCCSanitize)
	problems = append(problems, feature.CheckChoice(field+".mode", mode, modes)...)
	if len(x.CertDetailsToAdd) > 0 && mode != v1alpha1.XFCCAppendForward && mode != v1alpha1.XFCCSanitizeSet {
		problems = append(problems, feature.Invalid(field+".certDetailsToAdd",
			"mode %s adds nothing: write mode AppendForward or SanitizeSet, or remove the field", mode))
	}
	for i, detail := range x.CertDetailsToAdd {
		problems = append(problems, feature.CheckChoice(fmt.Sprintf("%s.certDetailsToAdd[%d]", field, i), detail, details)...)
	}
	return problems
}

// maxKiB is the limit of the headers of a request in KiB, 0 for Envoy's, and whether Envoy has that.
func maxKiB(h *v1alpha1.HeaderSettings) (uint32, bool) {
	if h.MaxRequestHeaderLimit == nil {
		return 0, true
	}
	size := h.MaxRequestHeaderLimit.Value()
	if size < minHeaders<<10 || size > maxHeaders<<10 {
		return 0, false
	}
	return uint32((size + 1<<10 - 1) >> 10), true
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	var h v1alpha1.HeaderSettings
	if spec.Headers != nil && len(check(spec)) == 0 {
		h = *spec.Headers
	}
	m := l.Manager
	m.CommonHttpProtocolOptions.HeadersWithUnderscoresAction = actions[ptr.Deref(h.WithUnderscoresAction,
		v1alpha1.WithUnderscoresActionRejectRequest)]
	m.StripTrailingHostDot = h.Host == nil || ptr.Deref(h.Host.StripTrailingHostDot, true)
	l.Router.SuppressEnvoyHeaders = !ptr.Deref(h.EnableEnvoyHeaders, false)
	setRequestID(&h, m)
	if x := h.XForwardedClientCert; x != nil {
		m.ForwardClientCertDetails = modes[ptr.Deref(x.Mode, v1alpha1.XFCCSanitize)]
		for i, detail := range x.CertDetailsToAdd {
			if i == 0 {
				m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{}
			}
			details[detail](m.SetCurrentClientCertDetails)
		}
	}
	if limit, _ := maxKiB(&h); limit > 0 {
		m.MaxRequestHeadersKb = wrapperspb.UInt32(limit)
	}
	if changed := mutations(h.EarlyRequestHeaders); len(changed) > 0 {
		m.EarlyHeaderMutationExtensions = append(m.EarlyHeaderMutationExtensions, early(changed))
	}
	changed := mutations(h.LateResponseHeaders)
	if ptr.Deref(h.DisableRateLimitHeaders, false) { // Whoever writes one of them in lateResponseHeaders means it.
		changed = append(mutations(&v1alpha1.HTTPHeaderFilter{Remove: rateLimits}), changed...)
	}
	if len(changed) > 0 {
		m.HttpFilters = append(m.HttpFilters, late(changed))
	}
}

func setRequestID(h *v1alpha1.HeaderSettings, m *hcmv3.HttpConnectionManager) {
	action := ptr.Deref(h.RequestID, v1alpha1.RequestIDGenerate)
	if ptr.Deref(h.PreserveXRequestID, false) {
		action = v1alpha1.RequestIDPreserveOrGenerate
	}
	asked := requestIDs[action]
	m.PreserveExternalRequestId = asked.preserve
	if !asked.generate {
		m.GenerateRequestId = wrapperspb.Bool(false)
	}
}

func effective(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
	h := spec.Headers
	if h == nil {
		return
	}
	if h.WithUnderscoresAction != nil {
		e.OfClients().HeadersWithUnderscores = string(*h.WithUnderscoresAction)
	}
	if limit, ok := maxKiB(h); ok && limit > 0 {
		e.OfClients().MaxRequestHeaders = new(int64(limit) << 10)
	}
	if x := h.XForwardedClientCert; x != nil && x.Mode != nil {
		e.OfClients().ForwardedClientCert = string(*x.Mode)
	}
}
