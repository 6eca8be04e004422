package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// TestParse reads each testdata/*.txtar: first a configuration, then its meaning with defaults filled in, or the error.
func TestParse(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding testdata/*.txtar: %d files, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, got := "error", ""
			if c, err := Parse(archive.Files[0].Data); err != nil {
				got = err.Error() + "\n"
			} else {
				name, got = "meaning.yaml", marshal(t, c)
			}
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: name, Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(archive.Files) != 2 || archive.Files[1].Name != name {
				t.Fatalf("want a second file %s; make golden rewrites it", name)
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		})
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("the default configuration is refused: %v", err)
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if _, err := Load(missing); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("loading a missing file: %v; want an error that names it", err)
	}
	if err := os.WriteFile(missing, []byte("kind: EnvoyGateway\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(missing); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("loading a file without apiVersion: %v; want an error that names the file", err)
	}
}

// FuzzParse checks two promises of Parse: it does not panic, and an accepted configuration means the same after it is
// written out and parsed again.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Parse(data)
		if err != nil {
			return
		}
		written := marshal(t, first)
		second, err := Parse([]byte(written))
		if err != nil {
			t.Fatalf("accepted once, then refused: %v\n%s", err, written)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("read again it differs (-first +second):\n%s", diff)
		}
	})
}

func marshal(t *testing.T, c *EnvoyGateway) string {
	t.Helper()
	out, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestEnabledKinds(t *testing.T) {
	c, err := Parse([]byte("apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\nextensionApis: {enableBackend: true, enableEnvoyPatchPolicy: true, enableExternalName: true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.EnabledKinds(), " "); got != "Backend EnvoyPatchPolicy" {
		t.Errorf("enabled are %s", got)
	}
	if got := Default().EnabledKinds(); len(got) > 0 {
		t.Errorf("enabled by default are %v", got)
	}
}
