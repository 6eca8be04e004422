package translator

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"gatehouse/policies/effective"
)

// TestEffectiveGoldens runs every testdata/effective/*.txtar. The first paragraph says what users are promised;
// input.yaml holds the objects, stored.yaml the object that is stored, or deleted.yaml the one that is deleted;
// before.yaml and after.yaml are what the change touches of the effective configuration.
func TestEffectiveGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/effective/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { effectiveGolden(t, file) })
	}
}

func effectiveGolden(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	part := func(name string) []byte {
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == name })
		if i < 0 {
			return nil
		}
		return archive.Files[i].Data
	}
	world := newWorld(t)
	var events []Event
	for _, o := range decode(t, part("input.yaml")) {
		events = append(events, Event{Object: o})
	}
	if _, err := world.Apply(events); err != nil {
		t.Fatal(err)
	}
	change := Event{Deleted: part("deleted.yaml") != nil}
	if changed := append(part("stored.yaml"), part("deleted.yaml")...); len(changed) > 0 {
		change.Object = decode(t, changed)[0]
		change.Object.SetGeneration(2)
	}
	trial, err := world.TryEffective(t.Context(), change)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]*effective.Configuration{"before.yaml": trial.Before, "after.yaml": trial.After} {
		text := dataText(t, got)
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == name })
		switch {
		case !*update && (i < 0 || string(archive.Files[i].Data) != text):
			t.Errorf("%s (-want +got, rewrite with -update):\n%s", name, cmp.Diff(string(part(name)), text))
		case *update && i < 0:
			archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(text)})
		case *update:
			archive.Files[i].Data = []byte(text)
		}
	}
	if *update {
		slices.SortStableFunc(archive.Files, func(a, b txtar.File) int {
			return strings.Compare(goldenOrder[a.Name], goldenOrder[b.Name])
		})
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// goldenOrder has the result of a change behind it.
var goldenOrder = map[string]string{"before.yaml": "1", "after.yaml": "2"}

// dataText is a configuration as rules see it.
func dataText(t *testing.T, c *effective.Configuration) string {
	t.Helper()
	data, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
