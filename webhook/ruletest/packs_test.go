package ruletest

import (
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/api/config"
	"gatehouse/api/crdtest"
	"gatehouse/controller/kube"
	"gatehouse/policies/rules"
	"gatehouse/policies/rules/packs"
	"gatehouse/translator"
)

// TestPacks runs the tests of each pack, of which each has some.
func TestPacks(t *testing.T) {
	o := options(t)
	for _, pack := range packs.Names() {
		t.Run(pack, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("../../policies/rules/packs", pack, "*_test.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("the pack has no tests: %v", err)
			}
			for _, file := range files {
				var out strings.Builder
				result, err := o.Run(t.Context(), file, &out)
				if err != nil || result.Failed > 0 || result.Passed < 2 {
					t.Errorf("%v\n%s", err, out.String())
				}
			}
		})
	}
}

// options are those of the command, with the CRDs of Gateway API from its module.
func options(t *testing.T) Options {
	t.Helper()
	crds, err := crdtest.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	tables := translator.NewTables(translator.Settings{ControllerName: config.Default().Gateway.ControllerName}, engine)
	return Options{
		CRDs: crds, Scheme: kube.NewScheme(), NewWorld: func() *translator.World { return translator.NewWorld(tables) },
	}
}
