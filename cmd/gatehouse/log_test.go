package main

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"testing"

	"gatehouse/api/config"
)

// TestLogLevels: a level of the configuration applies to the loggers of its component, with any name or values in
// addition, and to no other logger. If two components have one logger, the more verbose level applies.
func TestLogLevels(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, &config.Logging{Level: map[config.LogComponent]config.LogLevel{
		config.LogDefault: config.LogLevelWarn, config.LogProvider: config.LogLevelInfo, config.LogInfrastructure: config.LogLevelError,
		config.LogXDS: config.LogLevelInfo, config.LogXDSServer: config.LogLevelDebug, config.LogWebhook: config.LogLevelInfo,
	}})
	for _, name := range []string{"", "controller", "xds", "infrastructure", "status", "controller-runtime", "webhook", "other"} {
		l := log
		if name != "" {
			l = log.WithName(name).WithName("part").WithValues("key", "value")
		}
		l.V(1).Info(name + " debug")
		l.Info(name + " info")
		l.Error(errors.New("failed"), name+" error")
	}
	var got []string
	for _, m := range regexp.MustCompile(`"msg":"([^"]*)"`).FindAllStringSubmatch(out.String(), -1) {
		got = append(got, m[1])
	}
	want := []string{
		" error", "controller error", "xds debug", "xds info", "xds error", "infrastructure error", "status info", "status error",
		"controller-runtime info", "controller-runtime error", "webhook info", "webhook error", "other error",
	}
	if !slices.Equal(got, want) {
		t.Errorf("logged is %q, want %q", got, want)
	}
}
