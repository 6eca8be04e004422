package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	admissionregv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
)

const bin = "../bin"

// cluster is a real API server on loopback with the CRDs of Gateway API and of Gatehouse. It has no controllers.
type cluster struct {
	config    *rest.Config
	client    client.WithWatch
	dir       string
	processes []*exec.Cmd
}

var (
	clusterOnce sync.Once
	shared      *cluster
	clusterErr  error
)

// realCluster is the one API server of the package's tests; it is stopped when they have ended. Without its binaries
// the test is skipped.
func realCluster(t *testing.T) *cluster {
	t.Helper()
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Skipf("no %s in bin/: tests/cluster/build.sh puts it there", name)
		}
	}
	clusterOnce.Do(func() { clusterErr = startCluster(t, func(c *cluster) { shared = c }) })
	if clusterErr != nil {
		t.Fatal(clusterErr)
	}
	return shared
}

// ownCluster is an API server for one test alone, whose etcd has further flags.
func ownCluster(t *testing.T, etcd ...string) (c *cluster) {
	t.Helper()
	realCluster(t) // It skips the test if there are no binaries.
	err := startCluster(t, func(started *cluster) {
		c = started
		t.Cleanup(c.stop)
	}, etcd...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startCluster starts a cluster and waits until it is ready. It calls begun first: what has been started is to be
// stopped even if the rest fails.
func startCluster(t *testing.T, begun func(*cluster), etcdFlags ...string) error {
	dir, err := os.MkdirTemp("", "webhook-apiserver-")
	if err != nil {
		return err
	}
	c := &cluster{dir: dir}
	begun(c)
	clients, peers, secure := freePort(t), freePort(t), freePort(t)
	etcd := fmt.Sprintf("http://127.0.0.1:%d", clients)
	peer := fmt.Sprintf("http://127.0.0.1:%d", peers)
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.run("etcd", append(etcdFlags, "--data-dir="+filepath.Join(dir, "etcd"), "--listen-client-urls="+etcd,
		"--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer,
		"--unsafe-no-fsync", "--log-level=warn")...); err != nil {
		return err
	}
	key := filepath.Join(dir, "service-accounts.key")
	// Before Kubernetes 1.35 there is no PodTopologyLabels. The advertised address is one of documentation (RFC 5737) and goes nowhere: the server itself is on loopback.
	if err := c.run("kube-apiserver", "--etcd-servers="+etcd, "--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", secure),
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none", "--cert-dir="+dir,
		"--token-auth-file="+filepath.Join(dir, "tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+key,
		"--service-account-signing-key-file="+key,
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC",
		"--disable-admission-plugins=ServiceAccount,PodTopologyLabels"); err != nil {
		return err
	}
	c.config = &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", secure), BearerToken: "admin",
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1,
	}
	return c.ready()
}

func (c *cluster) prepare() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(filepath.Join(c.dir, "service-accounts.key"), private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "tokens.csv"), []byte("admin,admin,admin,system:masters\nann,ann,ann,team\n"), 0o600)
}

func (c *cluster) run(name string, args ...string) error {
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	// Nothing is left behind, not even if the tests are killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.processes = append(c.processes, cmd)
	return nil
}

func (c *cluster) ready() error {
	transport, err := rest.HTTPClientFor(c.config)
	if err != nil {
		return err
	}
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		response, err := transport.Get(c.config.Host + "/readyz")
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(start) > 2*time.Minute {
			log, _ := os.ReadFile(filepath.Join(c.dir, "kube-apiserver.log"))
			return fmt.Errorf("the API server is not ready: %w\n%s", err, log[max(0, len(log)-2000):])
		}
	}
	return c.install()
}

// install creates the CRDs and waits until they are served.
func (c *cluster) install() error {
	for _, add := range []func() error{
		func() error { return apiextensionsv1.AddToScheme(scheme) },
		func() error { return admissionregv1.AddToScheme(scheme) },
		func() error { return authorizationv1.AddToScheme(scheme) },
		func() error { return rbacv1.AddToScheme(scheme) },
	} {
		if err := add(); err != nil {
			return err
		}
	}
	var err error
	if c.client, err = client.NewWithWatch(c.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		return fmt.Errorf("finding the module of Gateway API: %w", err)
	}
	var files []string
	for _, kinds := range []string{"gatewayclasses", "gateways", "httproutes", "referencegrants"} {
		files = append(files, filepath.Join(strings.TrimSpace(string(module)),
			"config/crd/standard/gateway.networking.k8s.io_"+kinds+".yaml"))
	}
	own, err := filepath.Glob("../manifests/gatehouse-crds/files/*.yaml")
	if err != nil {
		return err
	}
	for _, file := range append(files, own...) {
		if err := c.installCRD(file); err != nil {
			return fmt.Errorf("installing %s: %w", file, err)
		}
	}
	return nil
}

// installCRD returns when clients find the kind, which may be a moment after the CRD is established.
func (c *cluster) installCRD(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(text, crd); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.client.Create(ctx, crd); err != nil {
		return err
	}
	established := func(condition apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue
	}
	for ; ; time.Sleep(50 * time.Millisecond) {
		if err := c.client.Get(ctx, client.ObjectKeyFromObject(crd), crd); err != nil {
			return err
		}
		if !slices.ContainsFunc(crd.Status.Conditions, established) {
			continue
		}
		_, err := c.client.RESTMapper().RESTMapping(schema.GroupKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind})
		if !meta.IsNoMatchError(err) {
			return err
		}
	}
}

// namespace creates a Namespace, which stays: no controller would empty and remove it.
func (c *cluster) namespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	err := c.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	if client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
}

// create creates an object until the test ends.
func (c *cluster) create(t *testing.T, o client.Object) {
	t.Helper()
	if err := c.client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.client.Delete(context.Background(), o); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
}

// tidied are the kinds of objects that tests leave behind.
var tidied = []client.Object{
	&gwapiv1.GatewayClass{}, &gwapiv1.Gateway{}, &gwapiv1.HTTPRoute{}, &gwapiv1.ReferenceGrant{},
	&v1alpha1.SecurityPolicy{}, &v1alpha1.BackendTrafficPolicy{}, &v1alpha1.ClientTrafficPolicy{}, &v1alpha1.Backend{},
	&v1alpha1.EnvoyProxy{}, &corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Service{},
}

// tidy removes what is in the namespaces, and cluster-scoped objects, when the test and its other cleanups have ended.
func (c *cluster) tidy(t *testing.T, namespaces ...string) {
	t.Cleanup(func() { c.empty(t, namespaces...) })
}

func (c *cluster) empty(t *testing.T, namespaces ...string) {
	t.Helper()
	for _, namespace := range namespaces {
		for _, kind := range tidied {
			o := kind.DeepCopyObject().(client.Object)
			// The API server's own Service comes back by itself.
			if err := c.client.DeleteAllOf(context.Background(), o, client.InNamespace(namespace)); err != nil {
				t.Errorf("tidying up %T of %s: %v", o, namespace, err)
			}
		}
	}
}

func (c *cluster) stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		_ = c.processes[i].Process.Signal(syscall.SIGTERM)
		time.AfterFunc(5*time.Second, func() { _ = c.processes[i].Process.Kill() })
		_ = c.processes[i].Wait()
	}
	_ = os.RemoveAll(c.dir)
}
