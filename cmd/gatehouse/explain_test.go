package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"gatehouse/xds/explain"
)

// TestGoldensAreKnown asks for a request on each listener of the translation's goldens: nothing of Envoy that the
// translation uses may be unknown to explain.
func TestGoldensAreKnown(t *testing.T) {
	names, err := filepath.Glob("../../translator/testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no goldens found: %v", err)
	}
	asked := 0
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "input.yaml")
		if err := os.WriteFile(file, archive.Files[0].Data, 0o600); err != nil {
			t.Fatal(err)
		}
		manifests, err := (&manifestOptions{namespace: "default", unvalidated: true}).read([]string{file}, nil)
		if err != nil {
			t.Fatal(err)
		}
		background := manifests.background()
		for _, d := range manifests.Outcome.Deltas {
			f, err := explain.NewFleet(d, manifests.Outcome.Requirements[d.Fleet])
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range background.Listeners {
				if !l.Serves || !strings.HasPrefix(l.Key, d.Fleet+"/") || l.Protocol == "UDP" {
					continue
				}
				host := strings.Replace(l.Hostname, "*", "a", 1)
				r := &explain.Request{
					Method: "GET", TLS: l.Protocol == "HTTPS" || l.Protocol == "TLS", ServerName: host, Port: l.Port,
					Authority: host, Path: "/",
				}
				if _, err := explain.Explain(f, background, r, "GET /"); err != nil && !errors.Is(err, explain.ErrSource) {
					t.Errorf("%s, listener %s: %v", name, l.Key, err)
				}
				asked++
			}
		}
	}
	if asked < 50 {
		t.Errorf("only %d listeners were asked", asked)
	}
}
