package report

import (
	"bytes"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"gatehouse/controller/kube"
	"gatehouse/policies/rules"
	"gatehouse/translator"
	"gatehouse/webhook"
	"gatehouse/webhook/offline"
)

// TestMeanings: each reason that the objects in the goldens of the translation are reported for is explained.
func TestMeanings(t *testing.T) {
	names, err := filepath.Glob("../../translator/testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no goldens found: %v", err)
	}
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	scheme, seen := kube.NewScheme(), map[string]bool{}
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		world := translator.NewWorld(translator.NewTables(translator.Settings{
			ControllerName: "gateway.envoyproxy.io/gatewayclass-controller",
		}, engine))
		review, err := offline.Files(offline.Options{Scheme: scheme, World: world, Namespace: "default", Level: webhook.LevelEnforce},
			[]string{"-"}, bytes.NewReader(archive.Files[0].Data))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range review.Findings {
			seen[f.Reason] = true
			if meanings[f.Reason] == "" {
				t.Errorf("%s: reason %s is not explained: say in help.go what it means", name, f.Reason)
			}
		}
	}
	if len(seen) < 30 {
		t.Errorf("the goldens have only %d reasons", len(seen))
	}
}
