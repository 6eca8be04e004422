package translator

import (
	"slices"
	"strings"
	"testing"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// TestCertificatesInUse: a list says of each certificate where it is used, whether it is served and why not, when it was
// replaced last, and whether cert-manager is still to issue it. Secrets that are missing are in it, and others that nobody
// uses are not.
func TestCertificatesInUse(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.now = func() time.Time { return now }
	secret := func(name string, data map[string][]byte) Event {
		return Event{Object: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, Type: corev1.SecretTypeTLS, Data: data}}
	}
	refs := func(names ...string) *gwapiv1.ListenerTLSConfig {
		tls := &gwapiv1.ListenerTLSConfig{}
		for _, name := range names {
			tls.CertificateRefs = append(tls.CertificateRefs, gwapiv1.SecretObjectReference{Name: gwapiv1.ObjectName(name)})
		}
		return tls
	}
	gateway := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "g"}, Spec: gwapiv1.GatewaySpec{
		GatewayClassName: "c",
		Listeners: []gwapiv1.Listener{
			{Name: "a", Protocol: gwapiv1.HTTPSProtocolType, Port: 443, TLS: refs("good", "broken")},
			{Name: "b", Protocol: gwapiv1.HTTPSProtocolType, Port: 444, TLS: refs("missing")},
			{Name: "c", Protocol: gwapiv1.HTTPSProtocolType, Port: 445, TLS: refs("soon")},
		},
		TLS: &gwapiv1.GatewayTLSConfig{Backend: &gwapiv1.GatewayBackendTLS{ClientCertificateRef: &gwapiv1.SecretObjectReference{Name: "good"}}},
	}}
	apply := func(events ...Event) {
		t.Helper()
		if _, err := w.Apply(events); err != nil {
			t.Fatal(err)
		}
	}
	apply(
		Event{Object: &gwapiv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: gwapiv1.GatewayClassSpec{ControllerName: controllerName},
		}},
		Event{Object: gateway}, secret("good", pairs[0]), secret("unused", pairs[0]),
		secret("broken", map[string][]byte{"tls.crt": pairs[0]["tls.crt"], "tls.key": pairs[1]["tls.key"]}),
		secret("soon", newPairUntil(now.Add(10*time.Second), "*.example.com")),
		Event{Object: &cmv1.Certificate{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "x"},
			Spec:       cmv1.CertificateSpec{SecretName: "missing", IssuerRef: cmmeta.IssuerReference{Name: "i", Group: "example.com", Kind: "I"}},
		}},
	)
	now = now.Add(time.Second)
	apply(secret("good", pairs[1]))

	all, err := w.Certificates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type brief struct {
		Name                                string
		Valid, ExpiresSoon, Issued, Pending bool
		Rotated                             time.Time
		Wrong                               string
	}
	var got []brief
	for _, c := range all {
		wrong, _, _ := strings.Cut(c.Wrong, ",")
		got = append(got, brief{c.Name, c.Valid, c.ExpiresSoon, c.Issued, c.Pending, c.Rotated, wrong})
	}
	want := []brief{
		{Name: "broken", Wrong: "has a tls.key that does not belong to the certificate in tls.crt: store the two of one issuance"},
		{Name: "good", Valid: true, Rotated: now},
		{
			Name: "missing", Issued: true, Pending: true,
			Wrong: `does not exist; Certificate "x" has no status yet: see whether cert-manager runs`,
		},
		{Name: "soon", Valid: true, ExpiresSoon: true, Wrong: "has a certificate that expires soon"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("certificates (-want +got):\n%s", diff)
	}

	uses, err := w.CertificateUses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	owner := verdict.Ref{Group: gwapiv1.GroupName, Kind: "Gateway", Namespace: "n", Name: "g"}
	if diff := cmp.Diff([]CertificateUse{
		{Owner: owner, Field: "spec.listeners[0].tls.certificateRefs[0]", Listener: "a", Served: true},
		{Owner: owner, Field: "spec.tls.backend.clientCertificateRef", Served: true},
	}, uses["n/good"]); diff != "" {
		t.Errorf("uses of a good one (-want +got):\n%s", diff)
	}
	for key, words := range map[string]string{
		"n/broken": "does not belong", "n/missing": "cert-manager issues it", "n/soon": "expires soon",
	} {
		use := uses[key]
		if len(use) != 1 || use[0].Served != (key == "n/soon") ||
			!slices.ContainsFunc(use[0].Problems, func(p string) bool { return strings.Contains(p, words) }) {
			t.Errorf("uses of %s: %+v, want one that says %q", key, use, words)
		}
	}
	if len(uses) != 4 {
		t.Errorf("%d Secrets are used, want 4: %v", len(uses), uses)
	}
}
