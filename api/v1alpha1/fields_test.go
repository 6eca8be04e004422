package v1alpha1_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/api/fieldtest"
)

// quantity is what Envoy Gateway takes as a quantity. 1000 is 1k as for Kubernetes, and not 1K.
const quantity = `^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$`

// TestFieldsOfEnvoyGateway compares the fields of our kinds, and their types, with those of Envoy Gateway in
// testdata/fields.txt: none is missing but those that are marked there as unserved, and none has another type or name.
func TestFieldsOfEnvoyGateway(t *testing.T) {
	types := readTypes(t)
	for _, kind := range []string{"Backend", "BackendTrafficPolicy", "ClientTrafficPolicy", "HTTPRouteFilter"} {
		t.Run(kind, func(t *testing.T) {
			want, got := map[string]string{}, map[string]string{}
			expand(t, types, "spec", kind, want)
			fields, err := fieldtest.Fields(kind)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fields {
				got[f.Path] = f.Type
				if f.Type == "quantity" && f.Schema.AllOf[1].Pattern != quantity {
					t.Errorf("%s takes other quantities than %s", f.Path, quantity)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the schema and testdata/fields.txt differ (-Envoy Gateway's +ours):\n%s", diff)
			}
			t.Logf("%d fields", len(want))
		})
	}
}

// readTypes reads the types of testdata/fields.txt: for each, its lines.
func readTypes(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	types, name := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "  "):
			types[name] = append(types[name], line[2:])
		default:
			if _, ok := types[line]; ok {
				t.Fatalf("testdata/fields.txt has %s twice", line)
			}
			name = line
			types[name] = nil
		}
	}
	return types
}

// expand adds the served fields of a type under a path.
func expand(t *testing.T, types map[string][]string, path, name string, fields map[string]string) {
	t.Helper()
	lines, ok := types[name]
	if !ok {
		t.Fatalf("testdata/fields.txt does not have the type %s, of %s", name, path)
	}
	for _, line := range lines {
		if inlined, ok := strings.CutPrefix(line, "..."); ok {
			expand(t, types, path, inlined, fields)
			continue
		}
		words := strings.Fields(line)
		if len(words) == 3 && words[2] == "unserved" {
			continue
		}
		if len(words) != 2 {
			t.Fatalf("testdata/fields.txt, type %s: %q is not a field with its type", name, line)
		}
		field, list := path+"."+words[0], ""
		item := strings.TrimPrefix(words[1], "[]")
		if item != words[1] {
			list = "[]"
		}
		switch item {
		case "string", "integer", "number", "boolean", "quantity", "map", "json":
			fields[field] = list + item
		default:
			fields[field] = list + "object"
			expand(t, types, field+list, item, fields)
		}
	}
}
