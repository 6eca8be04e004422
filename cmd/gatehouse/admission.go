package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"gatehouse/controller"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// server is the HTTPS server for other replicas, if this replica leads, and for the API server, if there is a webhook.
func (p *plane) server(o serveOptions, leaving <-chan struct{}) (ctrlwebhook.Server, error) {
	server := webhook.NewServer("", webhookPort, p.keeper.GetCertificate)
	server.Register(controller.ReplicasPath, p.replicas)
	if !o.webhook {
		return server, nil
	}
	return server, p.addWebhook(server, o, leaving)
}

// errUnready is returned for changes that cannot be tried yet.
var errUnready = errors.New("the control plane has not read all objects yet: try again in a moment")

// tryEffective tells what a change does to the effective configuration.
func (p *plane) tryEffective(ctx context.Context, change translator.Event) (translator.Trial, error) {
	if !p.controller.Synced() {
		return translator.Trial{}, errUnready
	}
	return p.world.TryEffective(ctx, change)
}

func (p *plane) addWebhook(server ctrlwebhook.Server, o serveOptions, leaving <-chan struct{}) error {
	level, err := webhook.ParseLevel(o.admissionLevel)
	if err != nil {
		return fmt.Errorf("--admission-level: %w", err)
	}
	breakGlass, err := webhook.ParseBreakGlass(o.breakGlass)
	if err != nil {
		return fmt.Errorf("--admission-break-glass: %w", err)
	}
	clients, err := p.webhookClients(o.clientCA)
	if err != nil {
		return err
	}
	synced := func(try func(context.Context, translator.Object) ([]translator.Finding, error)) webhook.TrierFunc {
		return func(ctx context.Context, obj client.Object) ([]translator.Finding, error) {
			if !p.controller.Synced() {
				return nil, errUnready
			}
			return try(ctx, obj)
		}
	}
	spans, err := newTraces(context.Background(), os.Getenv, p.log.WithName("webhook"))
	if err != nil {
		return err
	}
	p.must(p.manager.Add(spans))
	p.world.OnTry(webhook.NewTrialSize(metrics.Registry))
	err = webhook.Register(server, webhook.Options{
		Clients:    clients,
		Trier:      synced(p.world.Try),
		Deletions:  synced(p.world.TryDeletion),
		Effective:  p.tryEffective,
		Access:     webhook.Reviewed(p.manager.GetClient(), p.manager.GetRESTMapper()),
		Scheme:     p.manager.GetScheme(),
		Namespaces: p.manager.GetClient(),
		Level:      level,
		BreakGlass: breakGlass,
		Events:     p.manager.GetClient(),
		Exists:     webhook.Live(p.manager.GetAPIReader(), p.manager.GetRESTMapper()),
		Rules:      p.rules.book,
		Leaving:    leaving,
		Traces:     spans,
		Metrics:    metrics.Registry,
		Log:        p.log.WithName("webhook"),

		Zones: p.zones, LeaveCertificateRefs: !o.certificateRefs,
	})
	if err != nil {
		return err
	}
	policy, err := webhook.ParseFailurePolicy(o.failurePolicy)
	if err != nil {
		return fmt.Errorf("--webhook-failure-policy: %w", err)
	}
	gate := &webhook.Gate{
		Reader: p.manager.GetAPIReader(), Writer: p.manager.GetClient(), Configuration: "gatehouse", Policy: policy,
		Log:         p.log.WithName("webhook"),
		Certificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.keeper.GetCertificate(nil) },
	}
	p.leadership.Tasks = append(p.leadership.Tasks, gate.Start)
	return nil
}

// webhookClients are the clients that get verdicts: everybody if no file is named.
func (p *plane) webhookClients(file string) (*webhook.Clients, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--webhook-client-ca: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--webhook-client-ca: %s has no certificate: put the CA certificates of the API server's clients there, as PEM", file)
	}
	return &webhook.Clients{Authorities: authorities, Own: p.keeper.CABundle, Name: p.serviceName()}, nil
}
