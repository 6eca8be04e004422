package infra

import (
	"time"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/duration"
	"gatehouse/api/v1alpha1"
	"gatehouse/infra/shutdown"
)

// The margins for the drain time: how much longer the sidecar waits than the drain that it reports, and how much longer
// the pod may take before it is killed.
const (
	readyMargin = 10 * time.Second
	graceMargin = 300 * time.Second
)

// drain is how a fleet closes its connections.
type drain struct {
	delay, timeout, min *time.Duration
}

// drainOf reads the settings. An invalid duration counts as missing; envoyproxy.Problems reports it.
func drainOf(s *v1alpha1.ShutdownConfig) drain {
	if s == nil {
		return drain{}
	}
	return drain{
		delay: length(s.HealthCheckFailureDelay), timeout: length(s.DrainTimeout),
		min: length(s.MinDrainDuration),
	}
}

func length(d *gwapiv1.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	parsed, ok := duration.Parse(*d)
	if !ok {
		return nil
	}
	return &parsed
}

// drainTime is how long Envoy asks clients to disconnect.
func (d drain) drainTime() time.Duration { return or(d.timeout, shutdown.DefaultDrainTimeout) }

// grace is how long the pod may take to stop.
func (d drain) grace() time.Duration { return or(d.delay, 0) + d.drainTime() + graceMargin }

// managerArgs are the arguments of the sidecar, commandArgs those of the drain command.
func (d drain) managerArgs() []string {
	args := []string{"envoy", "shutdown-manager"}
	if d.timeout != nil {
		args = append(args, "--ready-timeout", (or(d.delay, 0) + *d.timeout + readyMargin).String())
	}
	return args
}

func (d drain) commandArgs() []string {
	args := []string{"gatehouse", "envoy", "shutdown"}
	for _, flag := range []struct {
		name  string
		value *time.Duration
	}{
		{"--health-check-failure-delay", d.delay},
		{"--drain-timeout", d.timeout},
		{"--min-drain-duration", d.min},
	} {
		if flag.value != nil {
			args = append(args, flag.name, flag.value.String())
		}
	}
	return args
}
