package main

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"gatehouse/api/config"
	"gatehouse/controller/fetch"
	"gatehouse/controller/fetch/disk"
	"gatehouse/translator"
)

// addFetcher adds what fetches content for policies. It fetches nothing from this pod.
func (p *plane) addFetcher(c *config.Fetching, directory string) error {
	own, err := fetch.Own()
	if err != nil {
		return err
	}
	allowed, denied := c.Prefixes()
	maxSize, cacheSize := c.LargeContent.Bytes()
	files, err := disk.Open(directory, cacheSize)
	if err != nil {
		return fmt.Errorf("--cache-directory: %w", err)
	}
	source := &fetch.Client{
		Addresses: fetch.NewAddresses(allowed, slices.Concat(denied, own)), Discovered: fetch.NewAddresses(allowed, own),
		Timeout: fetch.Timeout,
	}
	p.fetcher = fetch.New(fetch.Config{
		Client: p.manager.GetClient(), Namespace: p.namespace, HTTP: source, Files: files, MaxLarge: maxSize,
		Put:     func(events ...translator.Event) { p.controller.Put(events...) },
		Metrics: metrics.Registry, Log: p.log.WithName("fetcher"),
	})
	p.fetcher.Known = func(ctx context.Context) bool { return p.controller.WaitSynced(ctx) }
	return nil
}
