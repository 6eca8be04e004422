// Package shutdown ends an Envoy of a pod without interrupting requests.
//
// Kubernetes stops the containers of a pod at the same time. The command (Drain) is the preStop hook of the sidecar: it
// makes Envoy drain and waits for its connections. The preStop hook of Envoy calls the server (Manager), which answers
// when the command is done, so that Envoy gets its signal only then. The two communicate through a file.
package shutdown

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// The manager's port and paths.
const (
	Port = 19002
	// HealthPath always answers 200.
	HealthPath = "/healthz"
	// ReadyPath answers when Envoy may be stopped.
	ReadyPath = "/shutdown/ready"
)

// The defaults of the settings.
const (
	DefaultDrainTimeout     = 60 * time.Second
	DefaultMinDrainDuration = 10 * time.Second
	DefaultReadyTimeout     = 610 * time.Second
	DefaultReadyFile        = "/tmp/shutdown-ready"
	DefaultAdmin            = "127.0.0.1:19000"
)

// Options say how Envoy closes its connections.
type Options struct {
	// HealthCheckFailureDelay is the time between failing the health check and draining.
	HealthCheckFailureDelay time.Duration
	// DrainTimeout is the longest wait for connections, MinDrainDuration the shortest, both from the start of draining.
	// A shorter DrainTimeout wins, as in Envoy Gateway: the grace period of the pod is computed from it.
	DrainTimeout, MinDrainDuration time.Duration
	// ExitAtConnections is the number of connections that need not be waited for.
	ExitAtConnections int
	// ReadyFile is written when Envoy may be stopped.
	ReadyFile string
	// Admin is the address of Envoy's admin interface.
	Admin string
	// Poll is the time between two checks of the connections; 0 means a second.
	Poll time.Duration
}

// Drain fails Envoy's health check, makes Envoy ask its clients to disconnect, waits for its connections and writes the
// ready file. The file is written in any case, because waiting longer for an Envoy that does not answer has no benefit;
// the error says what went wrong. Drain returns early if ctx ends.
func Drain(ctx context.Context, o Options, log *slog.Logger) error {
	drained := drain(ctx, o, log)
	if err := os.WriteFile(o.ReadyFile, []byte("drained\n"), 0o600); err != nil {
		return errors.Join(drained, fmt.Errorf("telling the manager that Envoy may be stopped: %w", err))
	}
	return drained
}

func drain(ctx context.Context, o Options, log *slog.Logger) error {
	envoy := admin{address: o.Admin}
	if err := envoy.post(ctx, "/healthcheck/fail"); err != nil {
		return fmt.Errorf("failing Envoy's health check: %w", err)
	}
	log.Info("Envoy fails its health check", "delay", o.HealthCheckFailureDelay)
	if err := sleep(ctx, o.HealthCheckFailureDelay); err != nil {
		return err
	}
	if err := envoy.post(ctx, "/drain_listeners?graceful&skip_exit"); err != nil {
		return fmt.Errorf("draining Envoy's listeners: %w", err)
	}
	return await(ctx, envoy, o, log)
}

// await waits until few enough connections are left, but not less than the shortest and not more than the longest time.
func await(ctx context.Context, envoy admin, o Options, log *slog.Logger) error {
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	start := time.Now()
	for {
		open, err := envoy.connections(ctx)
		waited := time.Since(start)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return fmt.Errorf("waiting for connections: Envoy has ended: %w", err)
		case err != nil:
			log.Warn("cannot count Envoy's connections", "error", err)
		case open <= o.ExitAtConnections && waited >= o.MinDrainDuration:
			log.Info("Envoy is drained", "connections", open, "after", waited.Round(time.Millisecond))
			return nil
		default:
			log.Info("waiting for connections", "connections", open, "after", waited.Round(time.Millisecond))
		}
		if waited >= o.DrainTimeout {
			log.Warn("the time to drain is over, and open connections are cut", "connections", open, "timeout", o.DrainTimeout,
				"shortest", o.MinDrainDuration)
			return nil
		}
		if err := sleep(ctx, min(o.Poll, max(o.DrainTimeout-waited, time.Millisecond))); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for Envoy: %w", ctx.Err())
	}
}
