package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"gatehouse/tests/cluster/node"
	"gatehouse/tests/cluster/node/family"
	"gatehouse/tests/cluster/publish"
)

// nodeGrace is how long the node may take to stop its pods in order when the cluster goes down.
const nodeGrace = 10 * time.Second

func superviseCommand(dir *string) *cobra.Command {
	var encoded string
	command := &cobra.Command{
		Use:    "supervise",
		Short:  "Be the process that a cluster lives in (started by up)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if os.Getpid() != 1 {
				return errors.New("supervise runs in namespaces of its own only; start the cluster with `up`")
			}
			var o options
			if err := json.Unmarshal([]byte(encoded), &o); err != nil {
				return fmt.Errorf("reading --options: %w", err)
			}
			return supervise(layout{dir: *dir}, o)
		},
	}
	command.Flags().StringVar(&encoded, "options", "{}", "the options of up, JSON")
	return command
}

// cluster is a running cluster as its supervisor sees it.
type cluster struct {
	layout
	options options
	state   *stateFile
	log     *slog.Logger
	network byte // second octet of the cluster's loopback addresses
	// families are IPv4 and, where the machine has it, IPv6.
	families []family.Family
	client   kubernetes.Interface
}

// supervise runs a cluster until SIGTERM. As the first process of its namespaces it takes everything with it.
func supervise(l layout, o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	c := &cluster{
		layout: l, options: o,
		state: &stateFile{path: l.state(), begin: time.Now(), now: state{Options: o}},
		log:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	err := c.run(ctx)
	if err != nil {
		c.log.Error("the cluster ends", "error", err)
		return errors.Join(err, c.state.change(func(s *state) { s.Ready, s.Failure = false, err.Error() }))
	}
	return nil
}

func (c *cluster) run(ctx context.Context) error {
	listener, err := c.prepare()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		publish.Serve(ctx, listener, netip.AddrPortFrom(gateway, apiPort).String())
		return nil
	})
	// The control plane goes last, so that the node can tell it how its pods end.
	control, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer stopControl()
		return c.runWorkloads(ctx)
	})
	for _, part := range []component{etcd(c.layout), apiServer(c.layout, c.families), controllerManager(c.layout)} {
		group.Go(func() error {
			return part.run(control, c.layout, c.options, func() { c.noteRestart(part.name) })
		})
	}
	return group.Wait()
}

// prepare makes all that the processes need before they start, and takes the cluster's loopback network.
func (c *cluster) prepare() (net.Listener, error) {
	if err := closeOnExec(hostNamespace); err != nil {
		return nil, err
	}
	if err := prepareMounts(); err != nil {
		return nil, err
	}
	var err error
	if c.families, err = family.Enable(ipv4, ipv6); err != nil {
		return nil, err
	}
	if err := prepareNetwork(c.families); err != nil {
		return nil, err
	}
	seed := fnv.New32a()
	seed.Write([]byte(c.dir))
	listener, network, err := listenForAPI(seed.Sum32())
	if err != nil {
		return nil, err
	}
	c.network = network
	loopback := netip.MustParseAddrPort(apiLoopback(network))
	if err := errors.Join(writeCredentials(c.layout, loopback), writeResolvConf(c.layout)); err != nil {
		return nil, err
	}
	err = c.state.change(func(s *state) { s.API = "https://" + loopback.String() })
	return listener, errors.Join(err, c.state.did("namespaces and certificates"))
}

// runWorkloads runs what needs an API server: the node, and the publishing of load balancers.
func (c *cluster) runWorkloads(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.insideKubeconfig())
	if err != nil {
		return fmt.Errorf("reading the inside kubeconfig: %w", err)
	}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := awaitStep(ctx, apiServerReady(c.client)); err != nil {
		return nil // Told to end before the API server was there.
	}
	if err := c.state.did("API server"); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if !c.options.WithoutNode {
		group.Go(func() error { return c.runNode(ctx) })
	}
	group.Go(func() error { return c.publisher().Watch(ctx, c.client) })
	group.Go(func() error { return c.awaitReady(ctx) })
	return group.Wait()
}

// runNode runs the node agent; when the cluster goes down and pods end too slowly, it is left behind.
func (c *cluster) runNode(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() {
		ended <- node.Run(ctx, node.Config{
			Kubeconfig:    c.insideKubeconfig(),
			Dir:           c.node(),
			Images:        c.options.Images,
			Families:      c.families,
			ClusterDomain: clusterDomain,
			Log:           c.log.With("part", "node"),
		})
	}()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case err = <-ended:
		case <-time.After(nodeGrace):
			c.log.Warn("pods did not end in time and are killed", "seconds", nodeGrace.Seconds())
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("it returned before it was told to")
	}
	return fmt.Errorf("running the node agent: %w", err)
}

func (c *cluster) publisher() *publish.Publisher {
	return &publish.Publisher{
		Listen:   listenOnHost,
		Loopback: c.loopback,
		Source:   gateway,
		Log:      c.log.With("part", "publisher"),
		Changed: func(services []publish.Service) {
			if err := c.state.change(func(s *state) { s.LoadBalancers = services }); err != nil {
				c.log.Error("telling what is published", "error", err)
			}
		},
	}
}

// loopback maps 10.98.x.y to 127.N.x.y. What is outside the load balancers' range has no place there, nor has IPv6.
func (c *cluster) loopback(inside netip.Addr) (netip.Addr, bool) {
	if !ipv4.LoadBalancers.Contains(inside) {
		return netip.Addr{}, false
	}
	octets := inside.As4()
	return netip.AddrFrom4([4]byte{127, c.network, octets[2], octets[3]}), true
}

func (c *cluster) noteRestart(name string) {
	c.log.Warn("a process ended by itself and is started again", "process", name, "log", filepath.Base(c.layout.log(name)))
	err := c.state.change(func(s *state) {
		if s.Restarts == nil {
			s.Restarts = map[string]int{}
		}
		s.Restarts[name]++
	})
	if err != nil {
		c.log.Error("telling of a restart", "error", err)
	}
}

// awaitReady waits for all that a first `kubectl apply` takes for granted.
func (c *cluster) awaitReady(ctx context.Context) error {
	var together sync.WaitGroup
	var errs [2]error
	steps := map[string]condition{
		"default ServiceAccount and CA": namespaceReady(c.client),
	}
	if !c.options.WithoutNode {
		steps["node"] = nodeReady(c.client)
	}
	i := 0
	for name, reached := range steps {
		err := &errs[i]
		i++
		together.Go(func() {
			if *err = awaitStep(ctx, reached); *err == nil {
				*err = c.state.did(name)
			}
		})
	}
	together.Wait()
	if ctx.Err() != nil {
		return nil
	}
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	return c.state.change(func(s *state) { s.Ready = true })
}
