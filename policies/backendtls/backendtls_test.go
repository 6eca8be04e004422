package backendtls

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// TestCheck tests problems that the CRD's own rules reject in a cluster, but not in a file, and fields that only we do
// not serve.
func TestCheck(t *testing.T) {
	ref := []gwapiv1.LocalObjectReference{{Kind: "ConfigMap", Name: "ca"}}
	for name, c := range map[string]struct {
		spec gwapiv1.BackendTLSPolicySpec
		want []string
	}{
		"references": {spec: gwapiv1.BackendTLSPolicySpec{Validation: gwapiv1.BackendTLSPolicyValidation{
			Hostname:          "a",
			CACertificateRefs: ref,
		}}},
		"system": {spec: gwapiv1.BackendTLSPolicySpec{Validation: gwapiv1.BackendTLSPolicyValidation{
			Hostname:                "a",
			WellKnownCACertificates: new(gwapiv1.WellKnownCACertificatesSystem),
		}}},
		"nothing": {
			spec: gwapiv1.BackendTLSPolicySpec{},
			want: []string{
				"Invalid spec.validation: nothing says which CA certificates are trusted: write caCertificateRefs, or wellKnownCACertificates: System",
				"Invalid spec.validation.hostname: the name is empty: write the name that the backend's certificate is for",
			},
		},
		"another's well-known": {
			spec: gwapiv1.BackendTLSPolicySpec{Validation: gwapiv1.BackendTLSPolicyValidation{
				Hostname:                "a",
				WellKnownCACertificates: new(gwapiv1.WellKnownCACertificatesType("example.com/all")),
			}},
			want: []string{`Invalid spec.validation.wellKnownCACertificates: "example.com/all" is not known: write System, or caCertificateRefs`},
		},
		"a name of another type": {
			spec: gwapiv1.BackendTLSPolicySpec{Validation: gwapiv1.BackendTLSPolicyValidation{
				Hostname:          "a",
				CACertificateRefs: ref, SubjectAltNames: []gwapiv1.SubjectAltName{{Type: "URI", Hostname: "a"}},
			}},
			want: []string{`Invalid spec.validation.subjectAltNames[0]: type "URI" with no value of that type: write type Hostname and hostname, or type URI and uri`},
		},
		"options": {
			spec: gwapiv1.BackendTLSPolicySpec{
				Validation: gwapiv1.BackendTLSPolicyValidation{Hostname: "a", CACertificateRefs: ref},
				Options:    map[gwapiv1.AnnotationKey]gwapiv1.AnnotationValue{"example.com/x": "y"},
			},
			want: []string{`Unresolved spec.options[example.com/x]: "y" is not served and has no effect: remove it`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range Check(&gwapiv1.BackendTLSPolicy{Spec: c.spec}) {
				got = append(got, p.Weight.String()+" "+p.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNeeds: a policy needs all CA certificates that it refers to together, and nothing if it trusts those of the
// system.
func TestNeeds(t *testing.T) {
	p := &gwapiv1.BackendTLSPolicy{}
	if needs := Needs(p); len(needs) > 0 {
		t.Errorf("without references there are needs: %v", needs)
	}
	p.Spec.Validation.CACertificateRefs = []gwapiv1.LocalObjectReference{
		{Kind: "ConfigMap", Name: "a"}, {Group: "certificates.k8s.io", Kind: "ClusterTrustBundle", Name: "b"},
	}
	want := []feature.Need{{Field: "validation.caCertificateRefs", Authorities: &feature.Authorities{
		InvalidKind: "InvalidKind",
		Refs: []verdict.Ref{
			{Kind: "ConfigMap", Name: "a"},
			{Group: "certificates.k8s.io", Kind: "ClusterTrustBundle", Name: "b"},
		},
	}}}
	if diff := cmp.Diff(want, Needs(p)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
