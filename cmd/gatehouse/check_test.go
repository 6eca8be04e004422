package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestCommands runs commands that work on manifests. A golden has the manifests, and runs of the command as files whose name is its arguments,
// with what it prints and its exit code.
func TestCommands(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no goldens found: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			path, err := filepath.Abs(name)
			if err != nil {
				t.Fatal(err)
			}
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			var runs []*txtar.File
			for i := range archive.Files {
				if f := &archive.Files[i]; strings.HasPrefix(f.Name, "gatehouse ") {
					runs = append(runs, f)
				} else if err := os.MkdirAll(filepath.Dir(f.Name), 0o700); err != nil {
					t.Fatal(err)
				} else if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if len(runs) == 0 {
				t.Fatal("the golden runs no command")
			}
			for _, f := range runs {
				got := runCheck(t, f.Name)
				if *update {
					f.Data = []byte(got)
				} else if diff := cmp.Diff(string(f.Data), got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// runCheck runs a command line such as "gatehouse check - < file".
func runCheck(t *testing.T, line string) string {
	t.Helper()
	line, input, _ := strings.Cut(line, " < ")
	var stdin, out bytes.Buffer
	if input != "" {
		text, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		stdin.Write(text)
	}
	root := rootCommand()
	root.SetArgs(slices.Delete(strings.Fields(line), 0, 1))
	root.SetIn(&stdin)
	root.SetOut(&out)
	root.SetErr(&out)
	if err := root.Execute(); err != nil {
		fmt.Fprintf(&out, "gatehouse: %v\nexit code %d\n", err, exitCode(err))
	}
	return out.String()
}
