package webhook

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	admissionv1 "k8s.io/api/admission/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

var scheme = newScheme()

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, certificatesv1.AddToScheme,
		discoveryv1.AddToScheme, gwapiv1.Install, v1alpha1.AddToScheme, rulesv1alpha1.AddToScheme,
		cmv1.AddToScheme, acmev1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	end := sync.OnceFunc(func() {
		if shared != nil {
			shared.stop()
		}
	})
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-interrupted
		end() // It removes the API server's folder.
		os.Exit(1)
	}()
	m.Run()
	end()
}

// newWorld returns a Trier on live tables with the objects.
func newWorld(tb testing.TB, stored []byte, late ...[]byte) Trier {
	tb.Helper()
	trier, _ := newWorlds(tb, stored, late...)
	return trier
}

// newWorlds returns Triers of changes and of deletions on the same live tables.
func newWorlds(tb testing.TB, stored []byte, late ...[]byte) (changes, deletions Trier) {
	tb.Helper()
	return triers(tb, newTables(tb, stored), late...)
}

func triers(tb testing.TB, world *translator.World, late ...[]byte) (changes, deletions Trier) {
	changes = TrierFunc(func(ctx context.Context, obj client.Object) ([]translator.Finding, error) {
		findings, err := world.Try(ctx, obj)
		if len(late) > 0 {
			learn(tb, world, late[0])
			late = late[1:]
		}
		return findings, err
	})
	return changes, TrierFunc(func(ctx context.Context, obj client.Object) ([]translator.Finding, error) {
		return world.TryDeletion(ctx, obj)
	})
}

// newTables returns live tables with the objects.
func newTables(tb testing.TB, stored []byte) *translator.World {
	tb.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		tb.Fatal(err)
	}
	world := translator.NewWorld(translator.NewTables(translator.Settings{
		ControllerName: "gateway.envoyproxy.io/gatewayclass-controller",
	}, engine))
	learn(tb, world, stored)
	return world
}

func learn(tb testing.TB, world *translator.World, stream []byte) {
	tb.Helper()
	events := []translator.Event{{Served: &translator.ClusterTrustBundles}}
	for _, o := range decode(tb, stream) {
		events = append(events, translator.Event{Object: o})
	}
	if _, err := world.Apply(events); err != nil {
		tb.Error(err)
	}
}

// decode reads the objects of a YAML stream.
func decode(tb testing.TB, stream []byte) []translator.Object {
	tb.Helper()
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []translator.Object
	for _, document := range strings.Split(string(stream), "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		o, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			tb.Fatalf("decode %s: %v", document, err)
		}
		object := o.(translator.Object)
		object.SetUID(types.UID(gvkOf(object).Kind + "/" + object.GetNamespace() + "/" + object.GetName()))
		object.SetGeneration(1)
		objects = append(objects, object)
	}
	return objects
}

// served is a running server and its address.
type served struct {
	address string
	ca      []byte
	client  *http.Client
	cancel  context.CancelFunc
	done    chan error
}

// serve runs the server on loopback until the test ends.
func serve(t testing.TB, o Options) *served {
	t.Helper()
	certificate, ca := issue(t, time.Now().Add(time.Hour))
	return serveAt(t, o, freePort(t), certificate, ca)
}

// serveAt is serve at a port, with a certificate and its CA.
func serveAt(t testing.TB, o Options, port int, certificate *tls.Certificate, ca []byte) *served {
	t.Helper()
	s := &served{ca: ca, done: make(chan error, 1)}
	o.Scheme = scheme
	if o.Namespaces == nil {
		o.Namespaces = stored(nil)
	}
	if o.Log.GetSink() == nil {
		o.Log = testr.NewWithInterface(t, testr.Options{})
	}
	const host = "127.0.0.1"
	server := NewServer(host, port, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate, nil })
	if err := Register(server, o); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	go func() { s.done <- server.Start(ctx) }()
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	s.address = net.JoinHostPort(host, strconv.Itoa(port))
	s.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool(ca)},
		ForceAttemptHTTP2: true,
	}}
	for range 100 {
		if conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true}); err == nil { // It may have expired.
			_ = conn.Close()
			return s
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the server does not listen")
	return nil
}

// stop ends the server and its connections.
func (s *served) stop() error {
	s.client.CloseIdleConnections()
	s.cancel()
	err := <-s.done
	s.done <- err
	return err
}

// port is the port of the server.
func (s *served) port(t *testing.T) int {
	t.Helper()
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// dial connects to the server for any address, like cluster DNS and a Service.
func (s *served) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, s.address)
}

// post sends a review and reads the answer, which must be a verdict.
func (s *served) post(t *testing.T, path string, request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	t.Helper()
	in := review(nil)
	in.Request = request
	status, body := s.send(t, path, in)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	out := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(body, out); err != nil {
		t.Fatal(err)
	}
	if out.Response == nil || out.Response.UID != request.UID || out.Kind != "AdmissionReview" ||
		out.APIVersion != "admission.k8s.io/v1" {
		t.Fatalf("the API server would not take %s", body)
	}
	return out.Response
}

// send posts any body.
func (s *served) send(t testing.TB, path string, body any) (int, []byte) {
	t.Helper()
	code, answer, err := s.try(context.WithoutCancel(t.Context()), path, body)
	if err != nil {
		t.Error(err)
	}
	return code, answer
}

// try posts any body, and may fail.
func (s *served) try(ctx context.Context, path string, body any) (int, []byte, error) {
	text, ok := body.([]byte)
	if !ok {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.address+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// from is the same server, reached from another loopback address.
func (s *served) from(address string) *served {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &served{address: s.address, ca: s.ca, client: &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool(s.ca)}, DialContext: dialer.DialContext},
	}}
}

// issue makes a self-signed certificate, valid until a time, for 127.0.0.1 and the webhook's Service.
func issue(tb testing.TB, until time.Time) (*tls.Certificate, []byte) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gatehouse"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"gatehouse.gatehouse-system.svc"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func pool(ca []byte) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(ca)
	return p
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
