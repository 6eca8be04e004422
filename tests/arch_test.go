// Package tests holds what is checked of the repository as a whole.
package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source is one Go file of the control plane.
type source struct {
	path  string // From the root of the repository.
	lines int
	file  *ast.File
}

// sources parses every Go file that is neither a test nor generated.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(d.Name(), "zz_generated") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		path, err = filepath.Rel("..", path)
		all = append(all, source{filepath.ToSlash(path), strings.Count(string(text), "\n"), file})
		return err
	})
	if err != nil || len(all) < 50 {
		t.Fatalf("found %d files: %v", len(all), err)
	}
	return all
}

// arrows lists what the packages under a folder may import of this module; a folder may always import itself.
var arrows = map[string][]string{
	"api":              {},
	"policies/verdict": {},
	"policies/feature": {"policies/verdict", "api"},
	"policies":         {"api"},
	"translator":       {"policies", "api"},
	"xds":              {"translator", "policies", "api"},
	"webhook":          {"translator", "policies", "api"},
	"infra":            {"translator", "policies", "api"},
	"controller":       {"translator", "policies", "api", "xds"},
	"cmd":              {"controller", "webhook", "xds", "infra", "translator", "policies", "api"},
	"manifests":        {},
}

// folder is the longest entry of arrows that holds the path.
func folder(path string) string {
	best := ""
	for name := range arrows {
		if (path == name || strings.HasPrefix(path, name+"/")) && len(name) > len(best) {
			best = name
		}
	}
	return best
}

// TestImportArrows: imports go one way, from the command down to the API types.
func TestImportArrows(t *testing.T) {
	for _, s := range sources(t) {
		from := folder(s.path)
		if from == "" {
			continue // The tests' module.
		}
		for _, i := range s.file.Imports {
			target, ours := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "gatehouse/")
			if !ours || target == from || strings.HasPrefix(target, from+"/") {
				continue
			}
			if !slices.ContainsFunc(arrows[from], func(allowed string) bool { return target == allowed || strings.HasPrefix(target, allowed+"/") }) {
				t.Errorf("%s imports %s, but %s may import only %v", s.path, target, from, arrows[from])
			}
		}
	}
}

// TestFilesSayOneThing: a file of more than 400 lines has missed a room.
func TestFilesSayOneThing(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > 400 {
			t.Errorf("%s has %d lines; at most 400", s.path, s.lines)
		}
	}
}

// TestPackagesAreNouns: no package is named for holding just anything, and each says what it is.
func TestPackagesAreNouns(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		name := s.file.Name.Name
		if slices.Contains([]string{"util", "utils", "helper", "helpers", "common", "types", "manager", "base"}, name) {
			t.Errorf("%s: package %s says nothing; name it after what it holds", s.path, name)
		}
		dir := filepath.Dir(s.path)
		documented[dir] = documented[dir] || s.file.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("no file of %s has a package comment", dir)
		}
	}
}

// TestNoThirdForm: the translation has no struct of its own for what the API already has one for.
func TestNoThirdForm(t *testing.T) {
	api := map[string]bool{}
	structs := func(s source, yield func(name string)) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if _, is := spec.Type.(*ast.StructType); is {
					yield(spec.Name.Name)
				}
			}
			return true
		})
	}
	all := sources(t)
	for _, s := range all {
		if strings.HasPrefix(s.path, "api/") {
			structs(s, func(name string) { api[name] = true })
		}
	}
	for _, s := range all {
		if strings.HasPrefix(s.path, "translator/") {
			structs(s, func(name string) {
				if api[name] {
					t.Errorf("%s: struct %s is also one of the API; hold a pointer to that one", s.path, name)
				}
			})
		}
	}
}
