package translator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/translator/status"
)

// pairs are the contents of two good TLS Secrets, made anew in each run.
var pairs = []map[string][]byte{newPair("*.example.com", "*.example.org"), newPair("*.example.com", "*.example.org")}

func newPair(hosts ...string) map[string][]byte {
	return newPairUntil(time.Now().Add(time.Hour), hosts...)
}

// newPairUntil is the content of a TLS Secret with a certificate that expires at a time.
func newPairUntil(until time.Time, hosts ...string) map[string][]byte {
	return newPairBetween(time.Now().Add(-time.Minute), until, hosts...)
}

func newPairBetween(from, until time.Time, hosts ...string) map[string][]byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: hosts,
		NotBefore: from, NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// TestLostCertificateIsNotHandedOn: when a Secret in use breaks, its certificate is no longer among what a fresh proxy
// gets. What running proxies keep is delivery's business. The Gateway does not wait for an acknowledgement that cannot
// come.
func TestLostCertificateIsNotHandedOn(t *testing.T) {
	w := newWorld(t)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Type: corev1.SecretTypeTLS,
		Data: pairs[0],
	}
	gateway := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "g"}, Spec: gwapiv1.GatewaySpec{
		GatewayClassName: "c",
		Listeners: []gwapiv1.Listener{
			{Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80},
			{
				Name: "https", Protocol: gwapiv1.HTTPSProtocolType, Port: 443,
				TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "s"}}},
			},
		},
	}}
	class := &gwapiv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: "c"},
		Spec:       gwapiv1.GatewayClassSpec{ControllerName: controllerName},
	}
	outcome, err := w.Apply([]Event{{Object: class}, {Object: secret}, {Object: gateway}})
	if err != nil {
		t.Fatal(err)
	}
	proxy := Proxy{Fleet: "n/g", Node: "fresh", Listeners: map[string]string{}, Routes: map[string]bool{}}
	for _, r := range outcome.Deltas[0].Changed {
		switch r.Type {
		case typeListener:
			proxy.Listeners[r.Name] = r.Version
		case typeRoutes:
			proxy.Routes[r.Name] = true
		}
	}
	broken := secret.DeepCopy()
	broken.Data = map[string][]byte{"tls.crt": pairs[0]["tls.crt"], "tls.key": pairs[1]["tls.key"]}
	outcome, err = w.Apply([]Event{{Object: broken}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Delta{{Fleet: "n/g", Removed: []Name{{typeSecret, "n/s"}}}}
	if diff := cmp.Diff(want, outcome.Deltas); diff != "" {
		t.Errorf("deltas (-want +got):\n%s", diff)
	}
	outcome, err = w.Apply([]Event{
		{Proxy: &proxy},
		{Fleet: &FleetReport{Key: "n/g", Fleet: FleetStatus{
			Available: 1, Desired: 1,
			Addresses: []gwapiv1.GatewayStatusAddress{{Value: "10.0.0.1"}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	next, _ := outcome.Statuses[0].Merge(controllerName, gateway, metav1.Unix(1, 0))
	if conditions := next.(*gwapiv1.Gateway).Status.Conditions; !status.True(conditions,
		string(gwapiv1.GatewayConditionProgrammed)) {
		t.Errorf("the Gateway is not Programmed for the sake of its other listener: %v", conditions)
	}
}
