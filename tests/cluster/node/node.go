package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"

	"gatehouse/tests/cluster/node/dns"
	"gatehouse/tests/cluster/node/sandbox"
	"gatehouse/tests/cluster/node/sandbox/inside"
	"gatehouse/tests/cluster/node/service"
)

// Name is the name of the cluster's only node.
const Name = "local"

// stopTime is how long pods have to end when the node stops.
const stopTime = 2 * time.Second

// agent is what the node's parts share.
type agent struct {
	Config
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	sources   *sources
	host      *sandbox.Host
	addresses *addresses
	services  *service.Proxy
	names     *dns.Server
	events    record.EventRecorder
	started   metav1.Time

	mu      sync.Mutex
	pods    map[types.UID]*pod
	running sync.WaitGroup
	closed  bool
}

// InitIfPod does a container's work, and does not return, if the program was started as the init of a container: these
// are the program itself under another name. It belongs first in main of a program that calls Run.
func InitIfPod() { inside.Init() }

// Run makes this network namespace a Kubernetes node until ctx ends; it then stops every pod in order.
//
// The caller must be root, in network, mount and process namespaces of its own, with /proc of that process namespace,
// private mounts and the families' Gateways on some link. What Run adds to the network and to mounts it does not
// remove: that ends with the namespaces.
func Run(ctx context.Context, c Config) error {
	a, err := newAgent(c)
	if err != nil {
		return err
	}
	defer func() { _ = a.host.Close() }() // Nothing is left to be lost.
	if err := a.register(ctx); err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster()
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: a.client.CoreV1().Events("")})
	a.events = broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "node", Host: Name})

	group, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{a.heartbeat, a.serve, a.runPods} {
		group.Go(func() error { return part(ctx) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("node: %w", err)
	}
	return nil
}

func newAgent(c Config) (*agent, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", c.Kubeconfig, err)
	}
	config.QPS = -1 // The node is on the machine of the API server: nobody gains by a limit.
	config = rest.AddUserAgent(config, "gatehouse-node")
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server: %w", err)
	}
	if err := prepareDir(c.Dir); err != nil {
		return nil, err
	}
	host, err := sandbox.NewHost(c.Families...)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	services, err := service.New(service.Config{
		Client: client, Informers: factory, Log: c.Log, Families: c.Families,
	})
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	names, err := dns.New(c.ClusterDomain, factory)
	if err != nil {
		return nil, errors.Join(err, host.Close())
	}
	return &agent{
		Config: c, client: client, informers: factory, sources: newSources(client, factory),
		host: host, services: services, names: names, addresses: newAddresses(c.Families...), pods: map[types.UID]*pod{},
		started: metav1.Now(),
	}, nil
}

// prepareDir makes the state directory. Pods live on a memory file system, which needs no cleaning up after a crash.
func prepareDir(dir string) error {
	pods := filepath.Join(dir, "pods")
	if err := os.MkdirAll(pods, 0o755); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	if err := unix.Mount("tmpfs", pods, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount a memory file system on %s: %w", pods, err)
	}
	return nil
}

// runPods follows the API server until ctx ends and then stops every pod.
func (a *agent) runPods(ctx context.Context) error {
	if err := a.watch(); err != nil {
		return err
	}
	a.informers.Start(ctx.Done())
	for kind, ok := range a.informers.WaitForCacheSync(ctx.Done()) {
		if !ok && ctx.Err() == nil {
			return fmt.Errorf("listing %s failed", kind)
		}
	}
	if err := a.watchPods(ctx); err != nil {
		return err
	}
	defer a.stopPods()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.services.Run(ctx) })
	group.Go(func() error { return a.names.Run(ctx, netip.AddrPortFrom(a.gateway(), dnsPort)) })
	return group.Wait()
}

// dnsPort is where pods ask for names.
const dnsPort = 53

func (a *agent) stopPods() {
	a.mu.Lock()
	a.closed = true
	for _, p := range a.pods {
		p.shutDown(stopTime)
	}
	a.mu.Unlock()
	a.running.Wait()
}

// deleteObject removes a pod that has stopped.
func (a *agent) deleteObject(object *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	now := int64(0)
	err := a.client.CoreV1().Pods(object.Namespace).Delete(ctx, object.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &object.UID},
	})
	return ignoreGone(err)
}
