// Package probe reports whether containers are well, and runs the network actions of probes and lifecycle hooks.
package probe

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Counter turns single outcomes into a verdict that changes only after a number of equal outcomes in a row.
type Counter struct {
	// Success and Failure are how many outcomes in a row it takes; less than one counts as one.
	Success, Failure int32

	last bool
	row  int32
}

// Observe counts an outcome and returns whether it now stands, having been seen often enough.
func (c *Counter) Observe(ok bool) bool {
	if ok != c.last {
		c.last, c.row = ok, 0
	}
	c.row++
	if ok {
		return c.row >= c.Success
	}
	return c.row >= c.Failure
}

// Watch runs an action by the probe's times until ctx ends. Each time that an outcome stands by the probe's thresholds
// it is given to report, the failure as an error; report returns false to stop the probe. The first action runs at once
// after the initial delay.
func Watch(ctx context.Context, p *corev1.Probe, action func(context.Context) error, report func(error) bool) {
	counter := Counter{Success: p.SuccessThreshold, Failure: p.FailureThreshold}
	wait := time.NewTimer(time.Duration(p.InitialDelaySeconds) * time.Second)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		wait.Reset(seconds(p.PeriodSeconds, 10))
		err := once(ctx, p, action)
		if ctx.Err() != nil {
			return
		}
		if counter.Observe(err == nil) && !report(err) {
			return
		}
	}
}

func once(ctx context.Context, p *corev1.Probe, action func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, seconds(p.TimeoutSeconds, 1))
	defer cancel()
	return action(ctx)
}

func seconds(n, otherwise int32) time.Duration {
	if n <= 0 {
		n = otherwise
	}
	return time.Duration(n) * time.Second
}
