package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/infra/kubetest"
)

var server kubetest.Server

func TestMain(m *testing.M) { kubetest.Run(m, &server) }

// inNamespace returns settings for a namespace of the test.
func inNamespace(t *testing.T) (client.Client, Settings) {
	t.Helper()
	c := server.Client(t)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "certs-"}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	s := testSettings()
	s.Namespace = namespace.Name
	return c, s
}

func TestReplicasAgreeOnOneCertificate(t *testing.T) {
	c, s := inNamespace(t)
	const replicas = 8
	got := make([]*Serving, replicas)
	var all sync.WaitGroup
	for i := range replicas {
		all.Go(func() {
			serving, err := EnsureServing(t.Context(), c, s)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = serving
		})
	}
	all.Wait()
	for _, serving := range got {
		if serving != nil && !bytes.Equal(serving.Leaf.Certificate[0], got[0].Leaf.Certificate[0]) {
			t.Error("two replicas serve with different certificates")
		}
	}
	replaced, err := Replace(t.Context(), c, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := accepts(t, got[0].CABundle(), replaced, time.Now()); err != nil {
		t.Errorf("who trusts the old CA does not trust what replaced it: %v", err)
	}
	if !bytes.Contains(replaced.CABundle(), got[0].CABundle()) {
		t.Error("the old CA is not trusted any more")
	}
}

func TestWhatSomebodyElseKeepsIsUsedAndLeftAlone(t *testing.T) {
	c, s := inNamespace(t)
	theirs, err := renew(nil, s, time.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	data, err := theirs.data()
	if err != nil {
		t.Fatal(err)
	}
	delete(data, caKeyKey)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Secret},
		Type:       corev1.SecretTypeTLS, Data: data,
	}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	serving, err := EnsureServing(t.Context(), c, s)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(serving.Leaf.Certificate[0], theirs.Leaf.Certificate[0]) {
		t.Error("another certificate is served")
	}
	before := secret.ResourceVersion
	if err := c.Get(t.Context(), s.key(), secret); err != nil || secret.ResourceVersion != before {
		t.Errorf("the Secret was written to (%v)", err)
	}
}

// TestKeeperRenewsWhileItServes runs a keeper with certificates that are valid for seconds. A client that knows only
// the first CA must be able to connect all the time, while certificates and the CA are renewed, and the Secret is
// deleted and made invalid.
func TestKeeperRenewsWhileItServes(t *testing.T) {
	c, s := inNamespace(t)
	s.CALifetime, s.LeafLifetime = 12*time.Second, 3*time.Second
	configuration := webhooks(t, c)
	k := NewKeeper(c, s, logr.Discard())
	k.Interval, k.Webhooks = 100*time.Millisecond, configuration
	if err := k.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	changes := 0
	k.OnChange(func() { mu.Lock(); defer mu.Unlock(); changes++ })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Start(ctx) }()
	address := serveTLS(t, k)

	bundle := k.CABundle()
	leaves := map[string]bool{}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		leaf, err := dial(address, bundle)
		if err != nil {
			t.Fatalf("a client that knows the first CA only: %v", err)
		}
		leaves[leaf.SerialNumber.String()] = true
		switch len(leaves) {
		case 2:
			_ = c.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Secret}})
		case 3:
			breakSecret(t, c, s)
		}
	}
	if len(leaves) < 4 {
		t.Errorf("%d certificates in ten seconds, want one every two", len(leaves))
	}
	if bytes.Equal(bundle, k.CABundle()) {
		t.Error("the CA was not renewed")
	}
	mu.Lock()
	if changes < 2 {
		t.Errorf("%d changes of the CA were told, want the first and a renewal", changes)
	}
	mu.Unlock()
	trusted(t, c, configuration, k)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func breakSecret(t *testing.T, c client.Client, s Settings) {
	t.Helper()
	secret := &corev1.Secret{}
	if err := c.Get(t.Context(), s.key(), secret); err != nil {
		return // The keeper has not restored it yet.
	}
	secret.Data[caKeyKey] = []byte("garbage")
	_ = c.Update(t.Context(), secret) // It fails if the keeper was faster, which is fine.
}

func serveTLS(t *testing.T, k *Keeper) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		GetCertificate: k.GetCertificate,
		MinVersion:     tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = connection.(*tls.Conn).Handshake()
				_ = connection.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func dial(address string, bundle []byte) (*x509.Certificate, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	dialer := &tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 5 * time.Second},
		Config:    &tls.Config{RootCAs: roots, ServerName: "gatehouse", MinVersion: tls.VersionTLS13},
	}
	connection, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = connection.Close() }()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// webhooks makes configurations with two webhooks each, and returns their name.
func webhooks(t *testing.T, c client.Client) string {
	t.Helper()
	const name = "gatehouse-test"
	none, url := admissionv1.SideEffectClassNone, "https://127.0.0.1:1/"
	on := admissionv1.WebhookClientConfig{URL: &url}
	meta := metav1.ObjectMeta{Name: name}
	validating := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: meta}
	mutating := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: meta}
	for _, hook := range []string{"a.gatehouse.dev", "b.gatehouse.dev"} {
		validating.Webhooks = append(validating.Webhooks, admissionv1.ValidatingWebhook{
			Name: hook, ClientConfig: on, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		})
		mutating.Webhooks = append(mutating.Webhooks, admissionv1.MutatingWebhook{
			Name: hook, ClientConfig: on, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
		})
	}
	for _, o := range []client.Object{validating, mutating} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Delete(context.Background(), o) })
	}
	return name
}

// trusted fails the test unless every webhook soon has the keeper's CA.
func trusted(t *testing.T, c client.Client, name string, k *Keeper) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		validating, mutating := &admissionv1.ValidatingWebhookConfiguration{}, &admissionv1.MutatingWebhookConfiguration{}
		for _, o := range []client.Object{validating, mutating} {
			if err := c.Get(t.Context(), client.ObjectKey{Name: name}, o); err != nil {
				t.Fatal(err)
			}
		}
		told := 0
		for i := range validating.Webhooks {
			if bytes.Equal(validating.Webhooks[i].ClientConfig.CABundle, k.CABundle()) {
				told++
			}
			if bytes.Equal(mutating.Webhooks[i].ClientConfig.CABundle, k.CABundle()) {
				told++
			}
		}
		if told == 4 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 4 webhooks know the CA", told)
		}
	}
}
