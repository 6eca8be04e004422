package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// endpoints measures from the API server's answer to the change of an EndpointSlice to the first request at the new
// endpoint.
func (b *bench) endpoints(ctx context.Context) error {
	progress("endpoint change, %d times", b.tries)
	for _, o := range append(service("probe", 80, "", b.back.web[0]), client.Object(route("probe", "probe", "/"))) {
		if err := b.client.Create(ctx, o); err != nil {
			return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
		}
	}
	if _, err := b.until("probe.example.com", fmt.Sprint(b.back.web[0])); err != nil {
		return err
	}
	var changed times
	for i := range b.tries {
		port := b.back.web[(i+1)%2]
		if err := b.client.Update(ctx, slice("probe", 0, port)); err != nil {
			return fmt.Errorf("change an EndpointSlice: %w", err)
		}
		stored := time.Now()
		if _, err := b.until("probe.example.com", fmt.Sprint(port)); err != nil {
			return err
		}
		changed = append(changed, time.Since(stored))
		time.Sleep(50 * time.Millisecond)
	}
	say("endpoint change to traffic, p50 / p90", "%s", changed)
	return nil
}

// idle measures the control plane while nothing happens.
func (b *bench) idle(ctx context.Context) error {
	const span = 30 * time.Second
	progress("nothing, for %s", span)
	before, err := b.controlPlane(ctx)
	if err != nil {
		return err
	}
	select {
	case <-time.After(span):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := b.controlPlane(ctx)
	if err != nil {
		return err
	}
	say("control plane: CPU while nothing happens", "%.2f %%", (after.cpu-before.cpu)/span.Seconds()*100)
	return nil
}
