package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"gatehouse/infra/shutdown"
)

func envoyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "envoy",
		Short: "Work beside an Envoy, in its pod",
	}
	cmd.AddCommand(shutdownCommand(), shutdownManagerCommand())
	return cmd
}

// shutdownCommand is the preStop hook of the sidecar.
func shutdownCommand() *cobra.Command {
	o := shutdown.Options{Admin: shutdown.DefaultAdmin}
	cmd := &cobra.Command{
		Use:   "shutdown",
		Short: "Make the Envoy of this pod leave: fail its health check, drain it, and wait for its connections",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return shutdown.Drain(cmd.Context(), o, podLogger())
		},
	}
	cmd.Flags().DurationVar(&o.HealthCheckFailureDelay, "health-check-failure-delay", 0,
		"time between failing the health check and draining")
	cmd.Flags().DurationVar(&o.DrainTimeout, "drain-timeout", shutdown.DefaultDrainTimeout,
		"longest time before Envoy is stopped, even if it is shorter than --min-drain-duration")
	cmd.Flags().DurationVar(&o.MinDrainDuration, "min-drain-duration", shutdown.DefaultMinDrainDuration,
		"shortest time before Envoy is stopped")
	cmd.Flags().IntVar(&o.ExitAtConnections, "exit-at-connections", 0, "number of connections that need not be waited for")
	cmd.Flags().StringVar(&o.ReadyFile, "ready-file", shutdown.DefaultReadyFile,
		"file that tells the shutdown-manager that Envoy may be stopped")
	return cmd
}

// shutdownManagerCommand is the sidecar, which answers the preStop hook of Envoy.
func shutdownManagerCommand() *cobra.Command {
	m := shutdown.Manager{Port: shutdown.Port}
	cmd := &cobra.Command{
		Use:   "shutdown-manager",
		Short: "Hold up the end of the Envoy of this pod until it is drained",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return m.Run(cmd.Context(), podLogger())
		},
	}
	cmd.Flags().DurationVar(&m.ReadyTimeout, "ready-timeout", shutdown.DefaultReadyTimeout,
		"longest time that the end of Envoy is held up")
	cmd.Flags().StringVar(&m.ReadyFile, "ready-file", shutdown.DefaultReadyFile,
		"file that gatehouse envoy shutdown writes")
	return cmd
}

func podLogger() *slog.Logger { return slog.New(slog.NewJSONHandler(os.Stderr, nil)) }
