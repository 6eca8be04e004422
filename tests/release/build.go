package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// program is a static binary and what it runs on.
type program struct {
	platform v1.Platform
	binary   []byte
}

// settings are all that changes what the go command makes of the same source. GOENV=off leaves out what `go env -w` has
// set, which an empty value alone does not.
var settings = []string{
	"GOENV=off", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=",
	"GOFIPS140=off",
}

// build compiles the program for each platform.
func build(ctx context.Context, o *options, say func(format string, args ...any)) ([]program, error) {
	folder, err := os.MkdirTemp("", "gatehouse-release-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for binaries: %w", err)
	}
	defer os.RemoveAll(folder)
	var programs []program
	for _, name := range o.Platforms {
		platform, err := v1.ParsePlatform(name)
		if err != nil || platform.OS == "" || platform.Architecture == "" {
			return nil, fmt.Errorf("platform %q: write it as linux/amd64", name)
		}
		started := time.Now()
		path := filepath.Join(folder, strings.ReplaceAll(name, "/", "-"))
		compile := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags",
			"-s -w -buildid= -X main.version="+o.Version,
			"-o", path, "./cmd/gatehouse")
		compile.Dir = o.Root
		compile.Env = append(append(os.Environ(), settings...), "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
		if out, err := compile.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building for %s: %w: %s", name, err, bytes.TrimSpace(out))
		}
		binary, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading what was built: %w", err)
		}
		programs = append(programs, program{*platform, binary})
		say("built for %s in %.0f s", name, time.Since(started).Seconds())
	}
	return programs, nil
}
