package main

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// churning changes things without pause, under names that are always new, for a while and watches what memory does.
func (b *bench) churning(ctx context.Context) error {
	if b.churn == 0 {
		return nil
	}
	progress("churn for %s", b.churn)
	const samples = 6
	made := 0 // No name comes again.
	var text string
	for i := range samples + 1 {
		u, err := b.controlPlane(ctx)
		if err != nil {
			return err
		}
		envoy, err := b.envoyRSS()
		if err != nil {
			return err
		}
		text += fmt.Sprintf("%d + %d MiB ", u.rss>>20, envoy>>20)
		progress("control plane and Envoy: %s", text)
		if i == samples {
			break
		}
		for end := time.Now().Add(b.churn / samples); time.Now().Before(end); {
			var gone []client.Object
			for j := range 50 {
				name, target := fmt.Sprintf("churn-%d", made), fmt.Sprintf("s%d", j%b.services())
				made++
				var fresh []client.Object
				if j%10 == 0 {
					fresh, target = service(name, 80, "", b.back.web[j%12]), name
				}
				fresh = append(fresh, route(name, target, "/"))
				for _, o := range fresh {
					if err := b.client.Create(ctx, o); err != nil {
						return err
					}
				}
				gone = append(gone, fresh...)
				if err := b.client.Update(ctx, slice(fmt.Sprintf("s%d", j%b.services()), 0, b.back.web[j%12])); err != nil {
					return err
				}
			}
			for _, o := range gone {
				if err := b.client.Delete(ctx, o); err != nil {
					return err
				}
			}
		}
	}
	say(fmt.Sprintf("RSS of control plane + Envoy over %s of churn", b.churn), "%s", text)
	return nil
}
