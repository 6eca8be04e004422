package main

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"gatehouse/api/config"
	"gatehouse/controller/fetch"
)

// addFetcher adds what fetches content for policies. It fetches nothing from this pod.
func (p *plane) addFetcher(c *config.Fetching) error {
	own, err := fetch.Own()
	if err != nil {
		return err
	}
	allowed, denied := c.Prefixes()
	source := &fetch.Client{Addresses: fetch.NewAddresses(allowed, append(denied, own...)), Timeout: fetch.Timeout}
	p.fetcher = fetch.New(p.manager.GetClient(), source, p.namespace, metrics.Registry, p.log.WithName("fetcher"))
	p.fetcher.Known = func(ctx context.Context) bool { return p.controller.WaitSynced(ctx) }
	return nil
}
