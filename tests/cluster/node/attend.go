package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/tests/cluster/node/probe"
)

// attend watches over a run until it has ended, by itself, because life has, or because it is unwell.
func (c *container) attend(life context.Context, r *run) {
	running, stop := context.WithCancel(context.Background())
	defer stop()
	well, stopCare := context.WithCancel(running)
	defer stopCare()
	unwell := make(chan int64, 1)
	go c.care(running, well, r, unwell)
	select {
	case <-r.process.Done():
	case <-life.Done():
		stopCare() // Readiness is probed until the end, so that Services see when the container stops serving.
		c.pod.startGrace(c.pod.gracePeriod())
		c.end(c.pod.killed, r)
	case seconds := <-unwell:
		stopCare()
		limit, cancel := context.WithTimeout(c.pod.killed, time.Duration(seconds)*time.Second)
		defer cancel()
		c.end(limit, r)
	}
}

// end runs the preStop hook, asks the container to end and kills it when limit ends.
func (c *container) end(limit context.Context, r *run) {
	if l := c.spec.Lifecycle; l != nil && l.PreStop != nil && c.pod.hooks.Load() {
		hook, cancel := context.WithCancel(limit)
		go func() { // A container that ends by itself needs no hook any more.
			select {
			case <-r.process.Done():
				cancel()
			case <-hook.Done():
			}
		}()
		err := c.handle(hook, r, l.PreStop)
		if err != nil && hook.Err() == nil {
			c.pod.warn("FailedPreStopHook", err)
		}
		cancel()
	}
	if err := r.process.Terminate(); err != nil {
		c.pod.Log.Warn("Ending a container failed", "pod", c.pod.name(), "container", c.spec.Name, "error", err)
	}
	select {
	case <-r.process.Done():
		return
	case <-limit.Done():
	}
	if err := r.process.Kill(); err != nil {
		c.pod.Log.Warn("Killing a container failed", "pod", c.pod.name(), "container", c.spec.Name, "error", err)
	}
	<-r.process.Done()
}

// care runs the postStart hook and the probes: the startup probe first, then the others. Readiness is probed while
// running lasts, everything else while well does. A container that is not well is reported with the seconds it has to
// end.
func (c *container) care(running, well context.Context, r *run, unwell chan<- int64) {
	report := func(reason string, p *corev1.Probe, err error) bool {
		c.pod.warn(reason, fmt.Errorf("container %s: %w", c.spec.Name, err))
		seconds := int64(c.pod.gracePeriod() / time.Second)
		if p != nil && p.TerminationGracePeriodSeconds != nil {
			seconds = *p.TerminationGracePeriodSeconds
		}
		select {
		case unwell <- seconds:
		default: // It is being ended already.
		}
		return false
	}
	if l := c.spec.Lifecycle; l != nil && l.PostStart != nil {
		if err := c.handle(well, r, l.PostStart); err != nil {
			report("FailedPostStartHook", nil, err)
			return
		}
	}
	if p := c.spec.StartupProbe; p != nil {
		started := false
		probe.Watch(well, p, c.action(r, p), func(err error) bool {
			started = err == nil
			return !started && report("Unhealthy", p, fmt.Errorf("startup probe failed: %w", err))
		})
		if !started {
			return
		}
	}
	c.setStarted()
	if p := c.spec.ReadinessProbe; p != nil {
		go probe.Watch(running, p, c.action(r, p), func(err error) bool {
			c.setReady(err)
			return true
		})
	}
	if p := c.spec.LivenessProbe; p != nil {
		probe.Watch(well, p, c.action(r, p), func(err error) bool {
			return err == nil || report("Unhealthy", p, fmt.Errorf("liveness probe failed: %w", err))
		})
	}
}

// setStarted also makes a container without readiness probe ready.
func (c *container) setStarted() {
	c.change(func(s *corev1.ContainerStatus) {
		if s.State.Running == nil {
			return // It has just ended.
		}
		yes := true
		s.Started, s.Ready = &yes, c.spec.ReadinessProbe == nil
	})
	select {
	case <-c.up:
	default:
		close(c.up)
	}
}

func (c *container) setReady(err error) {
	if err != nil {
		c.pod.warn("Unhealthy", fmt.Errorf("container %s: readiness probe failed: %w", c.spec.Name, err))
	}
	c.change(func(s *corev1.ContainerStatus) { s.Ready = err == nil && s.State.Running != nil })
}

// action returns what a probe does.
func (c *container) action(r *run, p *corev1.Probe) func(context.Context) error {
	if p.GRPC != nil {
		return func(ctx context.Context) error { return probe.GRPC(ctx, c.pod.network.Addr().String(), p.GRPC) }
	}
	h := &corev1.LifecycleHandler{Exec: p.Exec, HTTPGet: p.HTTPGet, TCPSocket: p.TCPSocket}
	return func(ctx context.Context) error { return c.handle(ctx, r, h) }
}

// handle does what a hook or a probe says.
func (c *container) handle(ctx context.Context, r *run, h *corev1.LifecycleHandler) error {
	addr := c.pod.network.Addr().String()
	switch {
	case h.Exec != nil:
		code, output, err := r.process.Exec(ctx, h.Exec.Command)
		if err == nil && code != 0 {
			err = fmt.Errorf("command %q ended with exit code %d: %s", h.Exec.Command, code, output)
		}
		return err
	case h.HTTPGet != nil:
		return probe.HTTPGet(ctx, addr, c.spec, h.HTTPGet)
	case h.TCPSocket != nil:
		return probe.TCPSocket(ctx, addr, c.spec, h.TCPSocket)
	case h.Sleep != nil:
		select {
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.New("it says neither exec, httpGet, tcpSocket, sleep nor grpc")
}
