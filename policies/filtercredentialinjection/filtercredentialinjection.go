// Package filtercredentialinjection is the credentialInjection part of an HTTPRouteFilter: a credential that is added to
// requests before they are forwarded.
package filtercredentialinjection

import (
	"errors"
	"strings"

	injectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

const (
	// field is the reference to the Secret, and key the key in it.
	field = "credentialInjection.credential.valueRef"
	key   = "credential"
	// longest is the maximum length of a credential in bytes. Envoy accepts headers of 60 KiB in all.
	longest = 16 << 10
)

// Feature is the credentialInjection part. The credential is added by a filter of the cluster. So Envoy has it before the
// cluster gets requests, mirrored requests do not have it, and it is in no configuration but that of the secret
// (docs/decisions/099-filters-of-rules.md).
var Feature = feature.Feature[v1alpha1.HTTPRouteFilterSpec]{
	Name:  "credentialInjection",
	Check: check,
	Needs: func(spec *v1alpha1.HTTPRouteFilterSpec) []feature.Need {
		if spec.CredentialInjection == nil {
			return nil
		}
		return []feature.Need{{
			Field: field, Credential: feature.SecretContent(&spec.CredentialInjection.Credential.ValueRef, key, checkCredential),
		}}
	},
	Keys:    []feature.ContentKey{{Kind: "Secret", Key: key}},
	Cluster: cluster,
}

func check(spec *v1alpha1.HTTPRouteFilterSpec) []verdict.Problem {
	if spec.CredentialInjection == nil || spec.CredentialInjection.Header == nil {
		return nil
	}
	return feature.CheckHeaderName("credentialInjection.header", *spec.CredentialInjection.Header)
}

// checkCredential finds what cannot be the value of a header (RFC 9110, section 5.5). It shows nothing of it.
func checkCredential(value []byte) error {
	text := string(value)
	switch {
	case text == "":
		return errors.New("is empty: store the whole value of the header there")
	case len(text) > longest:
		return errors.New("is longer than 16 KiB: store the value of a header there")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return errors.New("has a line break or another control character, which no header can have: store it without, such as with printf in place of echo")
	case strings.TrimSpace(text) != text:
		return errors.New("begins or ends with a space: store it without")
	}
	return nil
}

func cluster(spec *v1alpha1.HTTPRouteFilterSpec, have feature.Have, upstream *feature.Upstream) {
	secret, ok := have.Secrets[field]
	if spec.CredentialInjection == nil || !ok || len(check(spec)) > 0 {
		return
	}
	upstream.AddFilter("envoy.filters.http.credential_injector", &injectorv3.CredentialInjector{
		Overwrite: ptr.Deref(spec.CredentialInjection.Overwrite, false),
		Credential: feature.Extension("envoy.http.injected_credentials.generic", &genericv3.Generic{
			Credential: feature.SDS(secret), Header: ptr.Deref(spec.CredentialInjection.Header, ""),
		}),
	})
}
