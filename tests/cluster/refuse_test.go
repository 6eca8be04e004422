package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUpRefuses(t *testing.T) {
	taken := t.TempDir()
	if err := os.WriteFile(filepath.Join(taken, "mine.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		dir  string
		args []string
		want string
	}{
		"a directory with other files":   {taken, nil, "holds other files and no cluster: name an empty or new directory"},
		"an image without program":       {"", []string{"--image", "web"}, `--image "web" is not NAME=PATH`},
		"an image whose program is away": {"", []string{"--image", "web=/no/such/program"}, "no such file or directory"},
		"an image that is a directory":   {"", []string{"--image", "web=/tmp"}, "/tmp is not an executable file"},
		"an image with a broken pattern": {"", []string{"--image", "web[=/bin/sh"}, "web[ is not a pattern"},
		"a directory without binaries":   {"", []string{"--bin", taken}, "there is no etcd in " + taken},
		"an argument that nobody reads":  {"", []string{"now"}, `unknown command "now"`},
		"a time limit without unit":      {"", []string{"--timeout", "5"}, `invalid argument "5"`},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			if test.dir != "" {
				c.dir = test.dir
			}
			out, err := c.run(append([]string{"up"}, test.args...)...)
			if err == nil || !strings.Contains(out, test.want) {
				t.Errorf("error %v, printed\n%s\nwant %q", err, out, test.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(taken, "mine.txt")); err != nil {
		t.Error("up removed a file that is not its own")
	}
}

func TestCommandsWithoutCluster(t *testing.T) {
	c := newCluster(t)
	for _, args := range [][]string{{"status"}, {"exec", "--", "true"}, {"logs", "pod"}} {
		if out, err := c.run(args...); err == nil || !strings.Contains(out, "no cluster is up in "+c.dir+"; run `up`") {
			t.Errorf("%s without a cluster: %v\n%s", args[0], err, out)
		}
	}
}

func TestParseImage(t *testing.T) {
	for image, want := range map[string]string{
		"web=/bin/sh":                           "web",
		"registry.example.com/team/web=/bin/sh": "web",
		"web:v*=/bin/sh":                        "web:v*",
	} {
		pattern, program, err := parseImage(image)
		if err != nil || pattern != want || program != "/bin/sh" {
			t.Errorf("parseImage(%q) = %q, %q, %v; want %q", image, pattern, program, err, want)
		}
	}
}
