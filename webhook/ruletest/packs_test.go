package ruletest

import (
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/api/crdtest"
	"gatehouse/policies/rules/packs"
)

// TestPacks runs the tests of each pack, of which each has some.
func TestPacks(t *testing.T) {
	crds, err := crdtest.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pack := range packs.Names() {
		t.Run(pack, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("../../policies/rules/packs", pack, "*_test.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("the pack has no tests: %v", err)
			}
			for _, file := range files {
				var out strings.Builder
				result, err := Run(t.Context(), file, crds, &out)
				if err != nil || result.Failed > 0 || result.Passed < 2 {
					t.Errorf("%v\n%s", err, out.String())
				}
			}
		})
	}
}
