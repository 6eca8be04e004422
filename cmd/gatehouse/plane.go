package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"gatehouse/api/config"
	"gatehouse/controller"
	"gatehouse/controller/debug"
	"gatehouse/controller/fetch"
	"gatehouse/controller/kube"
	"gatehouse/infra"
	"gatehouse/infra/certs"
	"gatehouse/translator"
	"gatehouse/webhook"
	"gatehouse/xds"
)

const (
	xdsPort     = 18000
	webhookPort = 9443
	leaseName   = "gatehouse-leader"
)

// plane is a running control plane. Every replica serves admission and xDS; only the leader writes status and
// infrastructure.
type plane struct {
	installation
	log        logr.Logger
	manager    manager.Manager
	world      *translator.World
	controller *controller.Controller
	statuses   *controller.StatusWriter
	leadership *controller.Leadership
	xds        *xds.Server
	keeper     *certs.Keeper
	identities *controller.Identities
	replicas   *controller.Replicas
	infra      *infra.Keeper
	fleets     *kube.Fleets
	fetcher    *fetch.Fetcher
	rules      ruling
	settings   infra.Settings
	zones      *webhook.Zones
	limiting   limiting
}

func newPlane(ctx context.Context, c *config.EnvoyGateway, in installation, o serveOptions) (*plane, error) {
	log := newLogger(os.Stderr, &c.Logging)
	ctrl.SetLogger(log)
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	restConfig.QPS, restConfig.Burst = 200, 400
	p := &plane{installation: in, log: log}
	if p.manager, err = newManager(restConfig, c, in); err != nil {
		return nil, err
	}
	if err := p.addLeadership(restConfig, c.Provider.Kubernetes.LeaderElection); err != nil {
		return nil, err
	}
	o.tables.Namespace = in.namespace
	o.tables.RateLimits = rateLimits(c.RateLimit, in.namespace, in.domain)
	tables, err := newTables(c, o.tables)
	if err != nil {
		return nil, err
	}
	p.world = translator.NewWorld(tables)
	if err := p.addCertificates(ctx, o); err != nil {
		return nil, err
	}
	if err := p.addRateLimits(ctx, c.RateLimit); err != nil {
		return nil, err
	}
	if err := p.addDelivery(restConfig); err != nil {
		return nil, err
	}
	if err := p.addInfrastructure(ctx, c); err != nil {
		return nil, err
	}
	if err := p.addReplicas(restConfig); err != nil {
		return nil, err
	}
	if err := p.addFetcher(&c.Fetching, o.cacheDirectory); err != nil {
		return nil, err
	}
	if err := p.addRules(&o); err != nil {
		return nil, err
	}
	p.addController(c)
	server, err := p.server(o, ctx.Done())
	if err != nil {
		return nil, err
	}
	p.must(p.manager.Add(server))
	if o.debugAddress != "" {
		p.must(p.manager.Add(&debug.Server{Address: o.debugAddress, World: p.world, Proxies: p.xds.Debug, Own: p.certificate}))
	}
	return p, p.addProbes()
}

func newManager(restConfig *rest.Config, c *config.EnvoyGateway, in installation) (manager.Manager, error) {
	caches, err := kube.CacheOptions(restConfig, in.namespace, c.Provider.Kubernetes.Deploy.Type)
	if err != nil {
		return nil, err
	}
	m, err := manager.New(restConfig, manager.Options{
		Scheme:                 kube.NewScheme(),
		Cache:                  caches,
		Metrics:                metricsserver.Options{BindAddress: ":19001"},
		HealthProbeBindAddress: ":8081",
	})
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	return m, nil
}

// addLeadership creates the lease, and lets it run the tasks of the leader. The manager's own election would end the
// process when the lease is lost.
func (p *plane) addLeadership(restConfig *rest.Config, election config.LeaderElection) error {
	p.leadership = &controller.Leadership{Log: p.log.WithName("replicas")}
	p.must(p.manager.Add(p.leadership))
	if election.Disable {
		return nil
	}
	p.leadership.Lease, p.leadership.Renew, p.leadership.Retry = election.Times()
	// A request that hangs must not use up the time to renew the lease.
	own := rest.CopyConfig(restConfig)
	own.Timeout = p.leadership.Renew / 2
	clientset, err := kubernetes.NewForConfig(own)
	if err != nil {
		return fmt.Errorf("make a client for the lease: %w", err)
	}
	p.leadership.Lock, err = resourcelock.New(resourcelock.LeasesResourceLock, p.namespace, leaseName, clientset.CoreV1(),
		clientset.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: p.identity()})
	if err != nil {
		return fmt.Errorf("make the lease: %w", err)
	}
	return nil
}

// identity is the name of this replica in the lease: the pod and its address.
func (in installation) identity() string { return in.pod + "_" + in.address }

// serviceName is the name under which the API server reaches the webhook, and the name that replicas check in the
// leader's certificate.
func (in installation) serviceName() string { return "gatehouse." + in.namespace + ".svc" }

func (p *plane) addCertificates(ctx context.Context, o serveOptions) error {
	direct, err := client.New(p.manager.GetConfig(), client.Options{Scheme: p.manager.GetScheme()})
	if err != nil {
		return fmt.Errorf("make a client for certificates: %w", err)
	}
	p.keeper = certs.NewKeeper(direct, certs.Settings{
		Namespace: p.namespace, DNSNames: certs.ServiceNames("gatehouse", p.namespace, p.domain),
		From: o.certificateFrom, Overlap: o.certificateOverlap,
	}, p.log.WithName("certs"))
	p.keeper.Leading = p.manager.Elected()
	// All replicas know of a step of a handover long before the next one.
	p.keeper.Interval = min(certs.DefaultInterval, max(o.certificateOverlap/10, time.Second/10))
	if o.webhook && o.injectCA {
		p.keeper.Webhooks = "gatehouse"
	}
	if err := p.keeper.Load(ctx); err != nil {
		return fmt.Errorf("load the serving certificate: %w", err)
	}
	return p.manager.Add(p.keeper)
}

// certificate is the certificate of the control plane, for metrics.
func (p *plane) certificate() translator.Certificate {
	leaf, now := p.keeper.Certificate(), time.Now()
	return translator.Certificate{
		Namespace: p.namespace, Name: certs.DefaultSecret, Issuer: leaf.Issuer.String(), NotBefore: leaf.NotBefore,
		NotAfter: leaf.NotAfter, Valid: !now.Before(leaf.NotBefore) && now.Before(leaf.NotAfter),
	}
}

func (p *plane) addDelivery(restConfig *rest.Config) error {
	reviews, err := reviewer(restConfig, p.manager)
	if err != nil {
		return err
	}
	p.identities = controller.NewIdentities(reviews, infra.XDSHost(p.namespace, p.domain))
	settings := xds.Config{
		Authenticate: p.identities.Authenticate,
		Confirm:      p.identities.Confirm,
		Report:       func(proxy translator.Proxy, connected bool) { p.replicas.Report(proxy, connected) },
		Memory:       p.memory / 4, // Tables and the garbage collector use the rest.
		Metrics:      metrics.Registry,
		Log:          p.log.WithName("xds"),
	}
	if p.limiting.service != nil {
		settings.RateLimits = p.rateLimitAuthorities
	}
	p.xds = xds.New(settings)
	p.identities.OnChange(p.xds.Review)
	return nil
}

func (p *plane) addInfrastructure(ctx context.Context, c *config.EnvoyGateway) error {
	if err := infra.Index(ctx, p.manager.GetFieldIndexer()); err != nil {
		return err
	}
	p.settings = infra.Settings{
		ControllerNamespace: p.namespace, EnvoyImage: p.envoyImage, GatehouseImage: p.gatehouseImage,
		PullSecrets:         p.pullSecrets,
		GatehousePullPolicy: p.gatehousePullPolicy,
		XDSHost:             infra.XDSHost(p.namespace, p.domain), XDSPort: xdsPort, CA: p.keeper.CABundle(),
		DeployMode: c.Provider.Kubernetes.Deploy.Type,
	}
	if !c.Provider.Kubernetes.ProxyTopologyInjector.Disabled {
		p.zones = &webhook.Zones{Reader: p.manager.GetAPIReader(), KeyOf: p.settings.KeyOf}
	}
	p.infra = infra.New(p.manager.GetClient(), p.settings, p.log.WithName("infrastructure"))
	p.infra.Known = func(ctx context.Context) bool { return p.controller.WaitSynced(ctx) }
	p.fleets = &kube.Fleets{
		Reader: p.manager.GetClient(), KeyOf: p.settings.KeyOf, Changed: p.infra.Changed,
		Put: func(events ...translator.Event) { p.controller.Put(events...) },
	}
	p.infra.Failed, p.infra.Proven = p.fleets.Failed, p.identities.Set
	p.keeper.OnChange(func() {
		p.infra.SetCA(p.keeper.CABundle())
		p.limiting.keeper.Changed()
	})
	return nil
}

func (p *plane) addController(c *config.EnvoyGateway) {
	p.statuses = controller.NewStatusWriter(p.manager.GetClient(), c.Gateway.ControllerName, metrics.Registry,
		p.log.WithName("status"))
	classes := controller.NewClassGuard(p.manager.GetClient(), c.Gateway.ControllerName, p.log.WithName("classes"))
	p.controller = controller.New(p.world, controller.Outlets{
		Publish:        p.xds.Publish,
		Synced:         p.xds.Synced,
		Infrastructure: p.infra.Set,
		Fetch:          p.fetcher.Set,
		Class:          classes.Set,
		Status:         p.statuses.Set,
		Applied:        p.rules.auditor.Applied,
		Forget:         p.statuses.Forget,
	}, metrics.Registry, p.log.WithName("controller"))
	metrics.Registry.MustRegister(&controller.Certificates{List: p.world.Certificates, Own: p.certificate})
	p.leadership.Tasks = append(p.leadership.Tasks, p.statuses.Start, classes.Start, p.infra.Start, p.fetcher.Start,
		p.rules.statuses.Start, p.rules.auditor.Start, p.limiting.keeper.Start)
	for _, r := range []everywhere{p.replicas.Start, p.fetcher.Run, p.translate, p.deliver} {
		p.must(p.manager.Add(r))
	}
}

// must panics on an error that cannot happen: adding a Runnable to a manager that has not started cannot fail.
func (p *plane) must(err error) {
	if err != nil {
		panic(err)
	}
}

// translate starts the watches, waits until all existing objects are known, and then runs the tables.
func (p *plane) translate(ctx context.Context) error {
	c := p.manager.GetCache()
	direct, err := client.New(p.manager.GetConfig(), client.Options{Scheme: p.manager.GetScheme()})
	if err != nil {
		return fmt.Errorf("make a client for CRDs: %w", err)
	}
	seen := p.rules.before(func(events ...translator.Event) {
		p.fetcher.Pass(events...)
		p.statuses.Seen(events...)
	})
	served, err := discovery.NewDiscoveryClientForConfig(p.manager.GetConfig())
	if err != nil {
		return fmt.Errorf("make a client for the kinds that are served: %w", err)
	}
	objects := &kube.Watcher{
		Cache: c, Reader: direct, Discovery: served, Put: seen, Further: kube.RuleKinds(), Log: p.log.WithName("kinds"),
	}
	if err := objects.Watch(ctx); err != nil {
		return err
	}
	if err := p.fleets.Watch(ctx, c); err != nil {
		return err
	}
	p.controller.Run(ctx)
	return nil
}

// deliver serves xDS until the context ends, and then ends the streams, so that proxies connect to another replica.
func (p *plane) deliver(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf(":%d", xdsPort))
	if err != nil {
		return fmt.Errorf("listen for proxies: %w", err)
	}
	if !p.controller.WaitSynced(ctx) {
		return listener.Close()
	}
	server := p.xds.Serve(func() *tls.Certificate {
		certificate, err := p.keeper.GetCertificate(nil)
		if err != nil {
			return nil // The server tells clients when they connect.
		}
		return certificate
	})
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve proxies: %w", err)
	case <-ctx.Done():
	}
	p.stopServing(server)
	return nil
}

func (p *plane) stopServing(server *xds.Endpoint) {
	p.xds.Close()
	force := time.AfterFunc(drain, server.Stop)
	server.GracefulStop()
	force.Stop()
}

// addProbes adds the probes. A replica is ready when it has translated everything and can serve it.
func (p *plane) addProbes() error {
	if err := p.manager.AddHealthzCheck("alive", func(*http.Request) error { return nil }); err != nil {
		return fmt.Errorf("add the health probe: %w", err)
	}
	err := p.manager.AddReadyzCheck("synced", func(*http.Request) error {
		if !p.controller.Synced() {
			return errors.New("not all objects have been read yet")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add the readiness probe: %w", err)
	}
	return nil
}

func (p *plane) run(ctx context.Context) error {
	if err := p.manager.Start(ctx); err != nil {
		return fmt.Errorf("run the control plane: %w", err)
	}
	return nil
}
