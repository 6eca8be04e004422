package translator

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/certificate"
)

// TestClientAuthoritiesChangeOneSecret: new CA certificates of clients change one secret of Envoy, and so does a change of
// what certificates must have besides. No listener changes, so no connection is drained.
func TestClientAuthoritiesChangeOneSecret(t *testing.T) {
	w := benchWorld(t, 1000)
	authorities := func(pem []byte) Object {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "ca"},
			Data:       map[string]string{certificate.AuthoritiesKey: string(pem)},
		}
	}
	policy := func(generation int64, names ...v1alpha1.StringMatch) Object {
		p := http3Policy()
		p.Name, p.Generation, p.Spec.HTTP3 = "clients", generation, nil
		v := &v1alpha1.ClientValidationContext{
			CACertificateRefs: []gwapiv1.SecretObjectReference{{Kind: ptr[gwapiv1.Kind]("ConfigMap"), Name: "ca"}},
		}
		if len(names) > 0 {
			v.SubjectAltNames = &v1alpha1.SubjectAltNames{DNSNames: names}
		}
		p.Spec.TLS = &v1alpha1.ClientTLSSettings{ClientValidation: v}
		return p
	}
	one, two := pairs[0][corev1.TLSCertKey], pairs[1][corev1.TLSCertKey]
	apply(t, w, authorities(one))
	for _, step := range []struct {
		what    string
		object  Object
		changed []string
	}{
		{"the policy", policy(1), []string{"Listener n/g/https", "Secret clients/n/clients"}},
		{"new authorities", authorities(two), []string{"Secret clients/n/clients"}},
		{"names", policy(2, v1alpha1.StringMatch{Value: "a.test"}), []string{"Secret clients/n/clients"}},
	} {
		outcome, err := w.Apply([]Event{{Object: step.object}})
		if err != nil {
			t.Fatal(err)
		}
		if got := changedNames(outcome); !slices.Equal(got, step.changed) {
			t.Errorf("%s: changed %v, want %v", step.what, got, step.changed)
		}
	}
}
