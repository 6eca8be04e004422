// Package clientclientipdetection is the clientIPDetection part of a ClientTrafficPolicy: how the address of a client is
// found.
package clientclientipdetection

import (
	"fmt"
	"net/netip"
	"regexp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	customv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/custom_header/v3"
	xffv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/original_ip_detection/xff/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Feature is the clientIPDetection part.
var Feature = feature.Feature[v1alpha1.ClientTrafficPolicySpec]{
	Name:     "clientIPDetection",
	Check:    check,
	Listener: listener,
	Effective: func(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, e *feature.Effective) {
		if extension := detection(spec); extension != nil {
			e.OfClients().Address = "xForwardedFor"
			if spec.ClientIPDetection.CustomHeader != nil {
				e.OfClients().Address = spec.ClientIPDetection.CustomHeader.Name
			}
		}
	},
}

const (
	field = "clientIPDetection"
	xff   = field + ".xForwardedFor"
)

// maxHops is more than any chain of proxies has.
const maxHops = 255

// header is what the name of a header looks like.
var header = regexp.MustCompile("^[A-Za-z0-9-]{1,255}$")

func check(spec *v1alpha1.ClientTrafficPolicySpec) (problems []verdict.Problem) {
	d := spec.ClientIPDetection
	if d == nil {
		return nil
	}
	set := 0
	for _, one := range []bool{d.XForwardedFor != nil, d.CustomHeader != nil, d.DirectSourceIP != nil} {
		if one {
			set++
		}
	}
	if set != 1 {
		return []verdict.Problem{feature.Invalid(field,
			"%d ways to find the address are set: write one of xForwardedFor, customHeader and directSourceIP", set)}
	}
	if c := d.CustomHeader; c != nil && !header.MatchString(c.Name) {
		problems = append(problems, feature.Invalid(field+".customHeader.name",
			"%q cannot be the name of a header: write up to 255 letters, digits and hyphens", c.Name))
	}
	x := d.XForwardedFor
	if x == nil {
		return problems
	}
	if (x.NumTrustedHops != nil) == (len(x.TrustedCIDRs) > 0) {
		problems = append(problems, feature.Invalid(xff, "write one of numTrustedHops and trustedCIDRs"))
	}
	if x.NumTrustedHops != nil && *x.NumTrustedHops > maxHops {
		problems = append(problems, feature.Invalid(xff+".numTrustedHops", "%d is out of range: write a number from 0 to %d",
			*x.NumTrustedHops, maxHops))
	}
	for i, cidr := range x.TrustedCIDRs {
		if _, err := netip.ParsePrefix(string(cidr)); err != nil {
			problems = append(problems, feature.Invalid(fmt.Sprintf("%s.trustedCIDRs[%d]", xff, i),
				"%q is not a range of addresses: write one such as 10.0.0.0/8 or 2001:db8::/32", cidr))
		}
	}
	return problems
}

func listener(spec *v1alpha1.ClientTrafficPolicySpec, _ feature.Have, l *feature.Listener) {
	extension := detection(spec)
	l.Manager.UseRemoteAddress = wrapperspb.Bool(extension == nil)
	if extension != nil {
		l.Manager.OriginalIpDetectionExtensions = []*corev3.TypedExtensionConfig{extension}
	}
	if d := spec.ClientIPDetection; d != nil && d.XForwardedFor != nil && extension == nil {
		l.Manager.SkipXffAppend = ptr.Deref(d.XForwardedFor.DisableXForwardedForAppend, false)
	}
}

// detection is nil if the address is that of the connection.
func detection(spec *v1alpha1.ClientTrafficPolicySpec) *corev3.TypedExtensionConfig {
	if spec.ClientIPDetection == nil || len(check(spec)) > 0 {
		return nil
	}
	if c := spec.ClientIPDetection.CustomHeader; c != nil {
		config := &customv3.CustomHeaderConfig{HeaderName: c.Name, AllowExtensionToSetAddressAsTrusted: true}
		if ptr.Deref(c.FailClosed, false) {
			config.RejectWithStatus = &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}
		}
		return feature.Extension("envoy.extensions.http.original_ip_detection.custom_header", config)
	}
	x := spec.ClientIPDetection.XForwardedFor
	if x == nil || x.NumTrustedHops != nil && *x.NumTrustedHops == 0 {
		return nil
	}
	config := &xffv3.XffConfig{SkipXffAppend: wrapperspb.Bool(ptr.Deref(x.DisableXForwardedForAppend, false))}
	if x.NumTrustedHops != nil {
		config.XffNumTrustedHops = *x.NumTrustedHops - 1
	} else {
		config.XffTrustedCidrs = &xffv3.XffTrustedCidrs{Cidrs: feature.Ranges(prefixes(x.TrustedCIDRs))}
	}
	return feature.Extension("envoy.extensions.http.original_ip_detection.xff", config)
}

func prefixes(cidrs []v1alpha1.CIDR) (all []netip.Prefix) {
	for _, cidr := range cidrs {
		if p, err := netip.ParsePrefix(string(cidr)); err == nil {
			all = append(all, p.Masked())
		}
	}
	return all
}
