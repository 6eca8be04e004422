package kube

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/envoyproxy"
	"gatehouse/policies/feature"
)

// TestOnlyContentIsHeld: of a ConfigMap the cache holds what a reference to CA certificates needs, of a fleet's own and of
// one with fetched content everything.
func TestOnlyContentIsHeld(t *testing.T) {
	long := strings.Repeat("a", feature.MaxBody+1)
	meta := metav1.ObjectMeta{Namespace: "n", Name: "c", UID: "u", ResourceVersion: "7"}
	foreign := &corev1.ConfigMap{
		ObjectMeta: meta, Data: map[string]string{"ca.crt": "x", "large": "y"},
		BinaryData: map[string][]byte{"large": []byte("z")},
	}
	foreign.Annotations, foreign.Labels = map[string]string{"a": "large"}, map[string]string{"l": "v"}
	kept, err := onlyContent("gatehouse-system")(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"ca.crt": "x"}}, kept); diff != "" {
		t.Errorf("what is held of a ConfigMap (-want +got):\n%s", diff)
	}
	for content, held := range map[string]bool{"-----BEGIN CERTIFICATE-----\n" + long: true, long: false} {
		alone := &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"root-cert.pem": content}}
		want := &corev1.ConfigMap{ObjectMeta: meta}
		if held {
			want.Data = alone.Data
		}
		if kept, err := onlyContent("gatehouse-system")(alone.DeepCopy()); err != nil || !cmp.Equal(want, kept) {
			t.Errorf("what is held of a ConfigMap's only key, %v (-want +got):\n%s", err, cmp.Diff(want, kept))
		}
	}
	own := &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"xds.yaml": "x"}}
	own.Labels = envoyproxy.OwnerLabels("n", "g")
	if kept, err := onlyContent("gatehouse-system")(own.DeepCopy()); err != nil || !cmp.Equal(own, kept) {
		t.Errorf("what is held of a fleet's ConfigMap, %v (-want +got):\n%s", err, cmp.Diff(own, kept))
	}
	fetched := &corev1.ConfigMap{ObjectMeta: meta, BinaryData: map[string][]byte{"content": []byte(long)}}
	fetched.Name, fetched.Annotations = "gatehouse-fetched-0123", map[string]string{"gatehouse.dev/digest": "y"}
	for namespace, want := range map[string]*corev1.ConfigMap{
		meta.Namespace: fetched, "gatehouse-system": {ObjectMeta: metav1.ObjectMeta{
			Namespace: "n", Name: fetched.Name,
			UID: "u", ResourceVersion: "7",
		}},
	} {
		if kept, err := onlyContent(namespace)(fetched.DeepCopy()); err != nil || !cmp.Equal(want, kept) {
			t.Errorf("what a control plane in namespace %s holds of fetched content, %v (-want +got):\n%s", namespace, err,
				cmp.Diff(want, kept))
		}
	}
}

// TestBodiesAreHeld: of a ConfigMap the cache holds what a reference to the body of a response needs: the key
// response.body, and an only key with any name, if it is short enough. Of another key beside response.body the name is kept, so that the
// latter does not seem to be the only one.
func TestBodiesAreHeld(t *testing.T) {
	type data = map[string]string
	short, long := "a page", strings.Repeat("a", feature.MaxBody+1)
	meta := metav1.ObjectMeta{Namespace: "n", Name: "c"}
	for name, tc := range map[string]struct{ given, want corev1.ConfigMap }{
		"its own key":                  {corev1.ConfigMap{Data: data{"response.body": long, "other": short}}, corev1.ConfigMap{Data: data{"response.body": long, "other": ""}}},
		"an only key":                  {corev1.ConfigMap{Data: data{"page.html": short}}, corev1.ConfigMap{Data: data{"page.html": short}}},
		"an only key with a long text": {corev1.ConfigMap{Data: data{"page.html": long}}, corev1.ConfigMap{}},
		"two keys":                     {corev1.ConfigMap{Data: data{"page.html": short, "other": short}}, corev1.ConfigMap{}},
		"a binary key": {
			corev1.ConfigMap{BinaryData: map[string][]byte{"page": []byte(short)}},
			corev1.ConfigMap{BinaryData: map[string][]byte{"page": []byte(short)}},
		},
		"a key of each": {corev1.ConfigMap{Data: data{"a": short}, BinaryData: map[string][]byte{"b": []byte(short)}}, corev1.ConfigMap{}},
		"nothing":       {},
	} {
		tc.given.ObjectMeta, tc.want.ObjectMeta = meta, meta
		if kept, err := onlyContent("gatehouse-system")(&tc.given); err != nil || !cmp.Equal(&tc.want, kept) {
			t.Errorf("%s: held is %v, error %v", name, kept, err)
		}
	}
}

func TestOnlyCertificatesAreHeld(t *testing.T) {
	meta := metav1.ObjectMeta{Namespace: "n", Name: "s", UID: "u", ResourceVersion: "7"}
	certificate := &corev1.Secret{
		ObjectMeta: meta, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			"tls.crt": []byte("c"), "tls.key": []byte("k"), "ca.crt": []byte("a"),
			"tls.ocsp-staple": []byte("o"),
		},
	}
	whole := certificate.DeepCopy()
	whole.Data["keystore.jks"] = []byte("large")
	whole.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "the key once more"}
	release := &corev1.Secret{
		ObjectMeta: meta, Type: "helm.sh/release.v1",
		Data: map[string][]byte{"release": []byte("large")},
	}
	for given, want := range map[*corev1.Secret]*corev1.Secret{
		whole:   certificate,
		release: {ObjectMeta: meta, Type: release.Type},
	} {
		kept, err := onlySecrets(given)
		if diff := cmp.Diff(want, kept); err != nil || diff != "" {
			t.Errorf("what is held of a Secret of type %s, %v (-want +got):\n%s", given.Type, err, diff)
		}
	}
}

// TestOnlyBundlesAreHeld: of a ClusterTrustBundle the cache holds the certificates, in whatever version it is read.
func TestOnlyBundlesAreHeld(t *testing.T) {
	meta := metav1.ObjectMeta{Name: "b", UID: "u", ResourceVersion: "7"}
	whole := meta
	whole.Annotations = map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "the certificates once more"}
	for given, want := range map[client.Object]client.Object{
		&certificatesv1.ClusterTrustBundle{ObjectMeta: whole, Spec: certificatesv1.ClusterTrustBundleSpec{
			SignerName:  "n",
			TrustBundle: "c",
		}}: &certificatesv1.ClusterTrustBundle{
			ObjectMeta: meta,
			Spec:       certificatesv1.ClusterTrustBundleSpec{TrustBundle: "c"},
		},
		&certificatesv1beta1.ClusterTrustBundle{
			ObjectMeta: whole,
			Spec: certificatesv1beta1.ClusterTrustBundleSpec{
				SignerName:  "n",
				TrustBundle: "c",
			},
		}: &certificatesv1beta1.ClusterTrustBundle{
			ObjectMeta: meta,
			Spec:       certificatesv1beta1.ClusterTrustBundleSpec{TrustBundle: "c"},
		},
	} {
		kept, err := byDefault(given)
		if diff := cmp.Diff(want, kept); err != nil || diff != "" {
			t.Errorf("what is held of a %T, %v (-want +got):\n%s", given, err, diff)
		}
	}
}
