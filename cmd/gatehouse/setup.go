package main

import (
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"gatehouse/api/config"
	"gatehouse/api/v1alpha1"
)

// newScheme knows every kind that the control plane reads or writes.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, gwapiv1.Install, mcsv1alpha1.Install, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err) // Two types under one kind: a programmer's mistake.
		}
	}
	return scheme
}

func metricsOptions() metricsserver.Options { return metricsserver.Options{BindAddress: ":19001"} }

// newLogger logs in JSON to standard error, at the configured level.
func newLogger(l *config.Logging) logr.Logger {
	level := map[config.LogLevel]slog.Level{
		config.LogLevelDebug: slog.LevelDebug, config.LogLevelInfo: slog.LevelInfo, config.LogLevelWarn: slog.LevelWarn, config.LogLevelError: slog.LevelError,
	}[l.LevelOf(config.LogDefault)]
	return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
