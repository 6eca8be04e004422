package main

import (
	"context"
	"fmt"
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// routesOfSet is how many routes each ListenerSet has.
const routesOfSet = 16

// listenerSets measures a Gateway that is shared by ListenerSets: each has a listener with a hostname of its own and
// routes of its own.
func (b *bench) listenerSets(ctx context.Context) error {
	before, err := b.controlPlane(ctx)
	if err != nil {
		return err
	}
	for _, o := range service("s0", 80, "", b.back.web[0]) {
		if err := b.client.Create(ctx, o); err != nil {
			return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
		}
	}
	progress("creating %d ListenerSets with %d routes each", b.inside, routesOfSet)
	start := time.Now()
	if err := each(b.inside, func(i int) error { return b.createSet(ctx, i) }); err != nil {
		return fmt.Errorf("create the ListenerSets: %w", err)
	}
	took, last := time.Since(start), time.Now()
	if _, err := b.until(setHost(b.inside-1), ""); err != nil {
		return err
	}
	say(fmt.Sprintf("creating all with %d routes each, by 4 clients / last one serves after that", routesOfSet), "%s / %s",
		round(took), round(time.Since(last)))
	time.Sleep(3 * time.Second) // Whatever is still being written is part of the cost.
	after, err := b.controlPlane(ctx)
	if err != nil {
		return err
	}
	envoy, err := b.envoyRSS()
	if err != nil {
		return err
	}
	say("control plane: CPU for creating / RSS after", "%.1f s / %d MiB", after.cpu-before.cpu, after.rss>>20)
	say("Envoy: RSS after", "%d MiB", envoy>>20)
	return b.oneMoreSet(ctx)
}

// oneMoreSet measures from the API server's answer to the last route of one more ListenerSet to its first 200.
func (b *bench) oneMoreSet(ctx context.Context) error {
	progress("one more ListenerSet, %d times", b.tries)
	var first times
	for i := range b.tries {
		if err := b.createSet(ctx, b.inside+i); err != nil {
			return err
		}
		stored := time.Now()
		if _, err := b.until(setHost(b.inside+i), ""); err != nil {
			return err
		}
		first = append(first, time.Since(stored))
	}
	say("one more with its routes: last create to first 200, p50 / p90", "%s", first)
	return nil
}

func setHost(i int) string { return fmt.Sprintf("set%d.example.com", i) }

// createSet creates a ListenerSet and then its routes, of which the last one serves every path.
func (b *bench) createSet(ctx context.Context, i int) error {
	name := fmt.Sprintf("set%d", i)
	host := gwapiv1.Hostname(setHost(i))
	set := &gwapiv1.ListenerSet{ObjectMeta: named(name), Spec: gwapiv1.ListenerSetSpec{
		ParentRef: gwapiv1.ParentGatewayReference{Name: "eg"},
		Listeners: []gwapiv1.ListenerEntry{{Name: "http", Protocol: gwapiv1.HTTPProtocolType, Port: 80, Hostname: &host}},
	}}
	if err := b.client.Create(ctx, set); err != nil {
		return fmt.Errorf("create ListenerSet %s: %w", name, err)
	}
	kind := gwapiv1.Kind("ListenerSet")
	for j := range routesOfSet {
		path := fmt.Sprintf("/%d", j)
		if j == routesOfSet-1 {
			path = "/"
		}
		r := route(fmt.Sprintf("%s-%d", name, j), "s0", path)
		r.Spec.Hostnames = nil // It serves its listener's.
		r.Spec.ParentRefs = []gwapiv1.ParentReference{{Kind: &kind, Name: gwapiv1.ObjectName(name)}}
		if err := b.client.Create(ctx, r); err != nil {
			return fmt.Errorf("create HTTPRoute %s: %w", r.Name, err)
		}
	}
	return nil
}
