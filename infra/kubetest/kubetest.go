// Package kubetest runs a real API server for tests.
package kubetest

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
)

// Server is an API server with its etcd, both on the loopback interface, and with no controllers.
type Server struct {
	environment *envtest.Environment
	// Missing is the reason why there is no server.
	missing string
}

// Run runs the tests of a package with the server of the repository (bin/kube-apiserver, bin/etcd), and exits. Without
// these programs, tests that need the server are skipped. Interrupted tests stop it too. TestMain calls it.
func Run(m *testing.M, s *Server, crds ...string) {
	os.Exit(s.run(m, crds))
}

func (s *Server) run(m *testing.M, crds []string) int {
	bin := filepath.Join(repository(), "bin")
	for _, program := range []string{"kube-apiserver", "etcd"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			s.missing = fmt.Sprintf("there is no bin/%s: make it to run this test", program)
			return m.Run()
		}
	}
	for i, crd := range crds {
		crds[i] = filepath.Join(repository(), crd)
	}
	s.environment = &envtest.Environment{BinaryAssetsDirectory: bin, CRDDirectoryPaths: crds, ErrorIfCRDPathMissing: true}
	interrupted := make(chan os.Signal, 1) // It keeps a signal until the server that is being started can be stopped.
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	if _, err := s.environment.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "kubetest: starting the API server:", err)
		return 1
	}
	go func() {
		<-interrupted
		s.stop()
		os.Exit(1)
	}()
	defer s.stop()
	return m.Run()
}

func (s *Server) stop() {
	if err := s.environment.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "kubetest: stopping the API server:", err)
	}
}

// Config is the configuration of a client with all permissions.
func (s *Server) Config(t *testing.T) *rest.Config {
	t.Helper()
	if s.environment == nil {
		t.Skip(s.missing)
	}
	return s.environment.Config
}

// Client returns a client without a cache that knows the kinds of Kubernetes and of Gateway API.
func (s *Server) Client(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, gwapiv1.Install, rulesv1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(s.Config(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// repository is the directory of go.mod; tests run in the directory of their package.
func repository() string {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return "."
}

// Start runs a cache, or something else with such a method, until the test ends. An error fails the test.
func Start(t *testing.T, start func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
