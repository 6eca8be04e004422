package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cert-manager/cert-manager/internal/controller/feature"
	"github.com/cert-manager/cert-manager/pkg/controller"
	_ "github.com/cert-manager/cert-manager/pkg/controller/acmechallenges" // Each of these registers its controller.
	_ "github.com/cert-manager/cert-manager/pkg/controller/acmeorders"
	gatewayshim "github.com/cert-manager/cert-manager/pkg/controller/certificate-shim/gateways"
	listenersetshim "github.com/cert-manager/cert-manager/pkg/controller/certificate-shim/listenerset"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/acme"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	"github.com/cert-manager/cert-manager/pkg/healthz"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/acme"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
	utilfeature "github.com/cert-manager/cert-manager/pkg/util/feature"
)

// Workers is how many objects each controller handles at the same time, health is where the chart's probe asks, and
// stuck is after how long a controller is not healthy.
const (
	workers = 2
	health  = ":9403"
	stuck   = 20 * time.Second
)

// runController runs all controllers of cert-manager but those for Ingresses, for CertificateSigningRequests, for metrics
// of certificates, and for issuers that need other servers than an ACME server.
func runController(ctx context.Context, args []string) error {
	options, err := readOptions(args)
	if err != nil {
		return err
	}
	factory, err := controller.NewContextFactory(ctx, options)
	if err != nil {
		return err
	}
	all, err := construct(factory, options)
	if err != nil {
		return err
	}
	shared, err := factory.Build()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", health)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return healthz.NewServer(stuck).Start(ctx, listener) })
	for name, one := range all {
		logf.FromContext(ctx).Info("Starting", "controller", name)
		group.Go(func() error { return one.Run(workers, ctx) })
	}
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	shared.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	if options.EnableGatewayAPI {
		shared.GWShared.Start(ctx.Done())
	}
	return group.Wait()
}

// construct makes the controllers that are wanted, by name.
func construct(factory *controller.ContextFactory, options controller.ContextOptions) (map[string]controller.Interface, error) {
	sets := options.EnableGatewayAPIListenerSet && utilfeature.DefaultFeatureGate.Enabled(feature.ListenerSets)
	unwanted := map[string]bool{
		gatewayshim.ControllerName: !options.EnableGatewayAPI, listenersetshim.ControllerName: !sets,
	}
	all := map[string]controller.Interface{}
	for name, constructor := range controller.Known() {
		if unwanted[name] {
			continue
		}
		one, err := constructor(factory)
		if err != nil {
			return nil, fmt.Errorf("making controller %s: %w", name, err)
		}
		all[name] = one
	}
	return all, nil
}
