package rules

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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"gatehouse/policies/verdict"
)

var update = flag.Bool("update", false, "rewrite the goldens")

func engine(tb testing.TB) *Engine {
	tb.Helper()
	e, err := Builtin()
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// TestGoldens checks the exact messages of every rule. A golden's objects are named *.yaml; problems.txt has the
// expected messages.
func TestGoldens(t *testing.T) {
	e := engine(t)
	for _, name := range goldens(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(bytes.TrimSpace(archive.Comment)) == 0 {
				t.Error("the golden begins without a paragraph that tells users what is promised")
			}
			at := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "problems.txt" })
			if at < 0 {
				t.Fatal("the golden holds no problems.txt")
			}
			var got strings.Builder
			for _, f := range archive.Files {
				if filepath.Ext(f.Name) == ".yaml" {
					fmt.Fprintf(&got, "# %s\n%s", f.Name, judge(t, e, f.Data))
				}
			}
			if *update {
				archive.Files[at].Data = []byte(got.String())
				if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[at].Data), got.String()); diff != "" {
				t.Errorf("the rules say something else (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEveryRuleHasAGolden checks that no message is untested.
func TestEveryRuleHasAGolden(t *testing.T) {
	rules, err := filepath.Glob("builtin/*.yaml")
	if err != nil || len(rules) == 0 {
		t.Fatalf("no built-in rules found: %v", err)
	}
	for _, rule := range rules {
		golden := "testdata/" + strings.TrimSuffix(filepath.Base(rule), ".yaml") + ".txtar"
		if _, err := os.Stat(golden); err != nil {
			t.Errorf("%s has no golden %s", rule, golden)
		}
	}
}

func goldens(tb testing.TB) []string {
	tb.Helper()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		tb.Fatalf("no goldens found: %v", err)
	}
	return names
}

// judge writes the messages of the rules about an object, and fails if they differ for the object in its Go type, in
// the form of informers.
func judge(t *testing.T, e *Engine, text []byte) string {
	t.Helper()
	u := object(t, text)
	problems := e.Check(u)
	if diff := cmp.Diff(problems, e.Check(typed(t, e, u))); diff != "" {
		t.Errorf("the object reads differently in its Go type:\n%s", diff)
	}
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s\n  %s\n", p, heading(p))
	}
	if len(problems) == 0 {
		b.WriteString("fine\n")
	}
	return b.String()
}

func object(tb testing.TB, text []byte) *unstructured.Unstructured {
	tb.Helper()
	json, err := yaml.YAMLToJSON(text)
	if err != nil {
		tb.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(json); err != nil {
		tb.Fatal(err)
	}
	return u
}

func heading(p verdict.Problem) string {
	heading := fmt.Sprintf("%s %s", p.Weight, p.Reason)
	if p.Condition != "" {
		heading += ", condition " + p.Condition
	}
	if p.Scope != "" {
		heading += " of " + p.Scope
	}
	return heading
}

// typed is the object in its Go type, without the TypeMeta that informers drop.
func typed(tb testing.TB, e *Engine, u *unstructured.Unstructured) runtime.Object {
	tb.Helper()
	obj, err := e.kinds.New(u.GroupVersionKind())
	if err != nil {
		tb.Fatal(err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, obj, true); err != nil {
		tb.Fatal(err)
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return obj
}

// seeds are the objects of all goldens by golden and file.
func seeds(tb testing.TB) map[string]*unstructured.Unstructured {
	tb.Helper()
	found := map[string]*unstructured.Unstructured{}
	for _, name := range goldens(tb) {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range archive.Files {
			if filepath.Ext(f.Name) == ".yaml" {
				found[filepath.Base(name)+"/"+f.Name] = object(tb, f.Data)
			}
		}
	}
	return found
}
