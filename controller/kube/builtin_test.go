package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"gatehouse/api/config"
	"gatehouse/infra/kubetest"
)

// ownServer is an API server that is started again with other settings.
type ownServer struct {
	plane *envtest.ControlPlane
	// admin may do everything.
	admin *rest.Config
}

func startOwn(t *testing.T, settings map[string]string) *ownServer {
	t.Helper()
	server.Config(t) // It skips the test if there are no binaries.
	o := &ownServer{plane: &envtest.ControlPlane{
		Etcd:      &envtest.Etcd{Path: filepath.Join("../../bin", "etcd")},
		APIServer: &envtest.APIServer{Path: filepath.Join("../../bin", "kube-apiserver"), StopTimeout: time.Minute},
	}}
	o.configure(settings)
	if err := o.plane.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	user, err := o.plane.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, &rest.Config{QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	o.admin = user.Config()
	o.admin.CAData, o.admin.Insecure = nil, true // Each start has a new certificate.
	return o
}

func (o *ownServer) configure(settings map[string]string) {
	arguments := o.plane.APIServer.Configure().Set("request-timeout", "2s") // This is how long a stop waits for watches.
	for _, name := range []string{"feature-gates", "runtime-config"} {
		arguments.Disable(name)
		if settings[name] != "" {
			arguments.Set(name, settings[name])
		}
	}
}

// restart starts the same API server with other settings.
func (o *ownServer) restart(t *testing.T, settings map[string]string) {
	t.Helper()
	if err := o.plane.APIServer.Stop(); err != nil {
		t.Fatal(err)
	}
	o.configure(settings)
	if err := o.plane.APIServer.Start(); err != nil {
		t.Fatal(err)
	}
}

// served are the events of kinds that are or are not served; true if one is served.
func (s *seen) served() (told []bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Served != nil {
			told = append(told, !e.Deleted)
		}
	}
	return told
}

// install replaces its CRDs by the CRDs of a file with the same names.
func (o *ownServer) install(t *testing.T, file string) {
	t.Helper()
	if _, err := envtest.InstallCRDs(o.admin, envtest.CRDInstallOptions{
		Paths:              []string{filepath.Join("../../bin", file)},
		ErrorIfPathMissing: true,
	}); err != nil {
		t.Fatal(err)
	}
}

// watch starts a Watcher of it and waits for the first complete list.
func (o *ownServer) watch(t *testing.T) *seen {
	t.Helper()
	s := &seen{scheme: NewScheme()}
	var err error
	if s.Client, err = client.New(o.admin, client.Options{Scheme: s.scheme}); err != nil {
		t.Fatal(err)
	}
	options, err := CacheOptions(o.admin, "gatehouse-system", config.DeployControllerNamespace)
	if err != nil {
		t.Fatal(err)
	}
	options.Scheme = s.scheme
	c, err := cache.New(o.admin, options)
	if err != nil {
		t.Fatal(err)
	}
	kubetest.Start(t, c.Start)
	served, err := discovery.NewDiscoveryClientForConfig(o.admin)
	if err != nil {
		t.Fatal(err)
	}
	w := &Watcher{
		Cache: c, Reader: s.Client, Discovery: served, AskAgain: 200 * time.Millisecond, Put: s.put,
		Log: logr.Discard(),
	}
	if err := w.Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// authority is a CA certificate in PEM.
func authority(t *testing.T, serial int64) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), BasicConstraintsValid: true, IsCA: true,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestBuiltInKindComesAndGoes: ClusterTrustBundles are watched in the version that the API server serves, from the
// start or as soon as it is served. If it serves another version instead, nothing is lost. If it serves none, they are
// gone.
func TestBuiltInKindComesAndGoes(t *testing.T) {
	const (
		without = "ClusterTrustBundle=false,ClusterTrustBundleProjection=false"
		beta    = "certificates.k8s.io/v1beta1/clustertrustbundles=true"
	)
	own := startOwn(t, map[string]string{"feature-gates": without})
	own.install(t, "gateway-api-crds.yaml")
	s := own.watch(t)
	if served := s.served(); len(served) > 0 {
		t.Errorf("events of served kinds %v of an API server that does not serve them", served)
	}

	own.restart(t, map[string]string{"runtime-config": beta + ",certificates.k8s.io/v1/clustertrustbundles=false"})
	bundle := &certificatesv1beta1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: "stays"},
		Spec:       certificatesv1beta1.ClusterTrustBundleSpec{TrustBundle: authority(t, 1)},
	}
	if err := s.Create(t.Context(), bundle); err != nil {
		t.Fatal(err)
	}
	s.await(t, bundle, false)

	own.restart(t, nil)
	second := &certificatesv1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: "second"},
		Spec:       certificatesv1.ClusterTrustBundleSpec{TrustBundle: authority(t, 2)},
	}
	if err := s.Create(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	s.await(t, second, false)
	if e, _ := s.last(bundle); e.Deleted {
		t.Error("a bundle counted as deleted when another version was served instead")
	}

	own.restart(t, map[string]string{"feature-gates": without})
	s.await(t, bundle, true)
	s.await(t, second, true)
	if diff := cmp.Diff([]bool{true, true, false}, s.served()); diff != "" {
		t.Errorf("whether the kind is served, as it was told (-want +got):\n%s", diff)
	}
}
