package main

import (
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"gatehouse/api/config"
)

func metricsOptions() metricsserver.Options { return metricsserver.Options{BindAddress: ":19001"} }

// newLogger logs in JSON to standard error, at the configured level.
func newLogger(l *config.Logging) logr.Logger {
	level := map[config.LogLevel]slog.Level{
		config.LogLevelDebug: slog.LevelDebug, config.LogLevelInfo: slog.LevelInfo, config.LogLevelWarn: slog.LevelWarn, config.LogLevelError: slog.LevelError,
	}[l.LevelOf(config.LogDefault)]
	return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
