package bootstrap

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

// update rewrites what the goldens expect: go test ./infra/bootstrap -run TestGolden -update.
var update = flag.Bool("update", false, "rewrite the expected parts of the goldens")

// TestIPv6: probes and metrics work at every address of a pod.
func TestIPv6(t *testing.T) {
	b, err := config(Settings{IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range b.StaticResources.Listeners {
		if at := l.Address.GetSocketAddress(); at.Address != "::" || !at.Ipv4Compat {
			t.Errorf("listener %s is at %v, want all addresses of both families", l.Name, at)
		}
	}
}

// TestGolden reads testdata/*.txtar: settings.yaml, and the bootstrap of Envoy.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var s Settings
			if err := yaml.UnmarshalStrict(archive.Files[0].Data, &s); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{"bootstrap.yaml": text(t, s)}
			contents, err := Files(s, []byte("the CA\n"))
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range contents {
				if strings.HasSuffix(name, ".json") {
					content = toYAML(t, content)
				}
				got[name] = content
			}
			for i, f := range archive.Files[1:] {
				if *update {
					archive.Files[i+1].Data = []byte(got[f.Name])
				} else if diff := cmp.Diff(string(f.Data), got[f.Name]); diff != "" {
					t.Errorf("%s is not what the file says (-file +now): make golden rewrites it:\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func text(t *testing.T, s Settings) string {
	t.Helper()
	first, err := JSON(s)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := JSON(s); err != nil || again != first {
			t.Fatalf("equal settings give different bytes (%v):\n%s\n%s", err, first, again)
		}
	}
	return toYAML(t, first)
}

func toYAML(t *testing.T, json string) string {
	t.Helper()
	out, err := yaml.JSONToYAML([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
