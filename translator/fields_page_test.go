package translator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/api/crdtest"
	"gatehouse/api/fieldtest"
)

// TestFieldsPages holds the pages of docs/fields about kinds that need a whole translation to the goldens of
// translations: every field of such a kind changes the outcome of one of them.
func TestFieldsPages(t *testing.T) {
	for _, page := range []struct {
		title, kind, goldens string
		fields               func(path string) bool
	}{
		{"Backend", "Backend", "*", func(string) bool { return true }},
		{"HTTPRouteFilter", "HTTPRouteFilter", "*", func(string) bool { return true }},
		{"Targets", "BackendTrafficPolicy", "*policies*", func(path string) bool {
			return strings.HasPrefix(path, "spec.target") || path == "spec.mergeType"
		}},
	} {
		t.Run(page.title, func(t *testing.T) {
			fields, err := fieldtest.Fields(page.kind)
			if err != nil {
				t.Fatal(err)
			}
			fields = slices.DeleteFunc(fields, func(f fieldtest.Field) bool { return !page.fields(f.Path) })
			kinds, err := crdtest.Kinds(func(gvk schema.GroupVersionKind) bool { return gvk.Kind == page.kind })
			if err != nil || len(kinds) != 1 {
				t.Fatalf("%d kinds, error %v", len(kinds), err)
			}
			effects := fieldtest.Effects{
				"spec.directResponse.header.remove": { // Nothing can be removed from a response of Envoy.
					Example: "../../translator/testdata/direct-responses-refused.txtar", Settings: []string{"refused"},
				},
			}
			files, err := filepath.Glob("testdata/" + page.goldens + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				effectsOf(t, file, kinds[0], fields, effects)
			}
			text, missing := fieldtest.Page(page.title, fields, effects, nil)
			if len(missing) > 0 {
				t.Errorf("no golden shows %s", strings.Join(missing, "\n"))
			}
			if err := fieldtest.Hold("../docs/fields/"+page.title+".md", text, *update); err != nil {
				t.Error(err)
			}
		})
	}
}

// effectsOf adds what the fields of the objects of a kind change in a golden.
func effectsOf(t *testing.T, file string, kind *crdtest.Kind, fields []fieldtest.Field, effects fieldtest.Effects) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	documents := bytes.Split(archive.Files[0].Data, []byte("\n---\n"))
	for i, document := range documents {
		object, err := fieldtest.Read(document)
		if err != nil {
			t.Fatal(err)
		}
		if object["kind"] != kind.Kind || !kind.Admits(object) {
			continue
		}
		effects.Find(object, fields, "../../translator/"+file, func(changed map[string]any) map[string]any {
			input := slices.Clone(documents)
			switch {
			case changed == nil:
				input = slices.Delete(input, i, i+1)
			case !kind.Admits(changed):
				return nil
			default:
				text, err := json.Marshal(changed)
				if err != nil {
					t.Fatal(err)
				}
				input[i] = text
			}
			archive.Files[0].Data = bytes.Join(input, []byte("\n---\n"))
			return treesOf(t, outcomeOf(t, archive))
		})
	}
}

// settingsHash ends the names of clusters whose settings have a name of their own.
var settingsHash = regexp.MustCompile(`/[0-9a-f]{16}\b`)

// treesOf are the resources of an outcome as JSON, and its problems. Names do not have the hashes of settings, since all of
// them would differ.
func treesOf(t *testing.T, outcome Outcome) map[string]any {
	t.Helper()
	trees := map[string]any{}
	for _, d := range outcome.Deltas {
		for _, r := range d.Changed {
			m, err := unmarshal(r)
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var tree any
			if err := json.Unmarshal(settingsHash.ReplaceAll(encoded, nil), &tree); err != nil {
				t.Fatal(err)
			}
			trees[path.Ext(r.Type)[1:]+" "+settingsHash.ReplaceAllString(r.Name, "")] = tree
		}
	}
	var problems strings.Builder
	for _, s := range outcome.Statuses {
		for _, p := range s.Problems {
			fmt.Fprintln(&problems, p)
		}
	}
	trees[fieldtest.Warning] = problems.String()
	return trees
}
