package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/api/config"
)

// TestLogLevels: a level of the configuration applies to the loggers of its component, with any name or values in
// addition, and to no other logger. If two components have one logger, the more verbose level applies.
func TestLogLevels(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, &config.Logging{Level: map[config.LogComponent]config.LogLevel{
		config.LogDefault: config.LogLevelWarn, config.LogProvider: config.LogLevelInfo,
		config.LogInfrastructure: config.LogLevelError,
		config.LogXDS:            config.LogLevelInfo, config.LogXDSServer: config.LogLevelDebug,
		config.LogWebhook: config.LogLevelInfo,
	}})
	for _, name := range []string{
		"", "controller", "xds", "infrastructure", "status", "controller-runtime", "webhook",
		"other",
	} {
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
		" error", "controller error", "xds debug", "xds info", "xds error", "infrastructure error", "status info",
		"status error",
		"controller-runtime info", "controller-runtime error", "webhook info", "webhook error", "other error",
	}
	if !slices.Equal(got, want) {
		t.Errorf("logged is %q, want %q", got, want)
	}
}

// TestLoggersHaveComponents: the level of each logger of the program can be configured, and docs/operations.md lists
// it.
func TestLoggersHaveComponents(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`p\.log\.WithName\("([^"]+)"\)`).FindAllStringSubmatch(string(text), -1) {
			found++
			if componentsOf[m[1]] == nil {
				t.Errorf("%s: logger %q has no component in componentsOf, so no configured level applies to it", file, m[1])
			}
			if !strings.Contains(string(page), "`"+m[1]+"`") {
				t.Errorf("%s: docs/operations.md does not list logger %q", file, m[1])
			}
		}
	}
	if found == 0 {
		t.Error("no loggers are found")
	}
}
