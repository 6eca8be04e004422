package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/config"
	"gatehouse/api/v1alpha1"
	"gatehouse/infra"
	"gatehouse/infra/certs"
	"gatehouse/translator"
)

// defaultRateLimitImage is the image of the rate limit service that this version is tested with.
const defaultRateLimitImage = "docker.io/envoyproxy/ratelimit:3fb70258"

// rateLimits is what the translation must know of the rate limit service, nil if there is none.
func rateLimits(c *config.RateLimit, namespace, domain string) *translator.RateLimits {
	if c == nil {
		return nil
	}
	host := infra.RateLimitHost(namespace, domain)
	return &translator.RateLimits{
		Host: host, Port: infra.RateLimitPort, TLS: &v1alpha1.BackendTLSSettings{SNI: new(gwapiv1.PreciseHostname(host))},
		Timeout: c.Wait(), FailClosed: c.FailClosed,
	}
}

// limiting is what the control plane has for the rate limit service: the certificates of the service and of Envoys. Both
// are nil if there is none.
type limiting struct {
	service, clients *certs.Keeper
	keeper           *infra.RateLimitKeeper
}

// addRateLimits makes the certificates of the rate limit service, and keeps them and its objects.
func (p *plane) addRateLimits(ctx context.Context, c *config.RateLimit) error {
	direct, err := client.New(p.manager.GetConfig(), client.Options{Scheme: p.manager.GetScheme()})
	if err != nil {
		return fmt.Errorf("make a client for the rate limit service: %w", err)
	}
	p.limiting.keeper = infra.NewRateLimitKeeper(direct, func() infra.RateLimitSettings { return p.rateLimitSettings(c) },
		p.log.WithName("global-ratelimit"))
	if c == nil {
		return nil
	}
	for name, keeper := range map[string]**certs.Keeper{
		translator.RateLimitService: &p.limiting.service, translator.RateLimitClients: &p.limiting.clients,
	} {
		*keeper = certs.NewKeeper(direct, certs.Settings{
			Namespace: p.namespace, Secret: name, DNSNames: certs.ServiceNames(name, p.namespace, p.domain), Client: true,
		}, p.log.WithName("certs"))
		if err := (*keeper).Load(ctx); err != nil {
			return fmt.Errorf("load the certificates of the rate limit service: %w", err)
		}
		(*keeper).OnChange(p.limiting.keeper.Changed)
		p.must(p.manager.Add(*keeper))
	}
	return nil
}

func (p *plane) rateLimitSettings(c *config.RateLimit) infra.RateLimitSettings {
	s := infra.RateLimitSettings{
		Namespace: p.namespace, Image: p.rateLimitImage, PullSecrets: p.pullSecrets,
		XDSHost: infra.XDSHost(p.namespace, p.domain), XDSPort: xdsPort, Config: c,
	}
	if c != nil {
		digest := sha256.New()
		digest.Write(p.limiting.service.Certificate().Raw)
		digest.Write(p.limiting.clients.CABundle())
		digest.Write(p.keeper.CABundle())
		s.Certificates = hex.EncodeToString(digest.Sum(nil)[:8])
	}
	return s
}

// rateLimitAuthorities are the CAs that the certificate of the rate limit service is verified by.
func (p *plane) rateLimitAuthorities() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.limiting.service.CABundle())
	return pool
}
