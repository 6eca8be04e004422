package controller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/rules"
	"gatehouse/translator"
)

// TestCertificatesExpireWithoutEvents: the status tells of a certificate in the second in which it begins to expire soon,
// and in that in which it expires, although nothing happens.
func TestCertificatesExpireWithoutEvents(t *testing.T) {
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(36*time.Hour + 30*time.Second).Truncate(time.Second)
		told := map[time.Time]string{}
		world := translator.NewWorld(translator.NewTables(translator.Settings{ControllerName: controllerName}, engine))
		c := New(world, Outlets{
			Publish: func([]translator.Delta) {}, Synced: func() {},
			Infrastructure: func(string, *translator.Requirement) {}, Forget: func(translator.Object) {},
			Class: func(string, translator.ClassUse) {},
			Status: func(s *translator.Status) {
				for _, p := range s.Problems {
					told[time.Now()] = p.String()
				}
			},
		}, nil, logr.Discard())
		c.Put(
			translator.Event{Object: &gwapiv1.GatewayClass{
				ObjectMeta: metav1.ObjectMeta{Name: "c"},
				Spec:       gwapiv1.GatewayClassSpec{ControllerName: controllerName},
			}},
			translator.Event{Object: &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "tls"},
				Type:       corev1.SecretTypeTLS, Data: certificateUntil(t, until),
			}},
			translator.Event{Object: &gwapiv1.Gateway{
				ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "g"},
				Spec: gwapiv1.GatewaySpec{
					GatewayClassName: "c", Listeners: []gwapiv1.Listener{{
						Name: "https", Protocol: gwapiv1.HTTPSProtocolType, Port: 443,
						TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "tls"}}},
					}},
				},
			}},
		)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Run(ctx)
		time.Sleep(time.Until(until))
		synctest.Wait()
		soon := until.Add(-48 * time.Hour * 3 / 10)
		if words := told[soon]; len(told) != 1 || !strings.Contains(words, "has a certificate that expires soon") {
			t.Fatalf("what is told before the end, by time: %v; want it once, at %v", told, soon)
		}
		clear(told)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if words := told[until.Add(time.Second)]; len(told) != 1 ||
			!strings.Contains(words, "Secret n/tls has a certificate that expired at "+until.UTC().Format(time.RFC3339)) {
			t.Errorf("what is told, by time: %v; want it one second after %v", told, until)
		}
	})
}

func certificateUntil(t *testing.T, until time.Time) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"www.example.com"},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}
