// Package tests holds what is checked of the repository as a whole.
package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
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

// files finds those of the repository whose path ends in suffix.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, suffix) {
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// read answers with the text of a file.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sources parses every Go file that is neither a test nor generated.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, path := range files(t, ".go") {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(filepath.Base(path), "zz_generated") {
			continue
		}
		text := read(t, path)
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		path, _ = filepath.Rel("..", path) // It lies below.
		all = append(all, source{filepath.ToSlash(path), strings.Count(text, "\n"), file})
	}
	if len(all) < 50 {
		t.Fatalf("found %d files", len(all))
	}
	return all
}

// arrows lists what the packages under a folder may import of this module; beside that, a folder may import itself. A
// name that ends in a star stands for each folder there that is not listed by its own name, and may then only import
// what it names.
var arrows = map[string][]string{
	"api":                  {},
	"policies/verdict":     {},
	"policies/regex":       {},
	"policies/feature":     {"policies/regex", "policies/verdict", "api"},
	"policies/paths":       {"policies/feature", "policies/regex", "policies/verdict"},
	"policies/merge":       {"api"},
	"policies/retry":       {"policies/feature", "policies/verdict", "api"},
	"policies/tlssettings": {"policies/feature", "policies/verdict", "api"},
	"policies/http2":       {"policies/feature", "policies/verdict", "api"},
	"policies/effective":   {"policies/feature", "policies/verdict"},
	"policies/*": {
		"policies/effective", "policies/feature", "policies/http2", "policies/merge", "policies/paths", "policies/regex", "policies/retry",
		"policies/tlssettings", "policies/verdict", "api",
	},
	"policies": {
		"policies/*", "policies/feature", "policies/http2", "policies/merge", "policies/paths", "policies/regex", "policies/retry",
		"policies/verdict", "api",
	},
	"translator/flow": {},
	"translator/*":    {"policies/verdict", "api"},
	"translator": {
		"translator/flow", "translator/*", "policies", "policies/*", "policies/effective", "policies/feature",
		"policies/paths", "policies/regex", "policies/retry", "policies/verdict", "api",
	},
	"xds":     {"translator", "policies", "policies/*", "policies/paths", "policies/verdict", "api"},
	"webhook": {"translator", "policies", "policies/*", "policies/effective", "policies/verdict", "api"},
	"infra":   {"translator", "policies", "policies/*", "policies/regex", "policies/verdict", "api"},
	"controller": {
		"translator", "translator/*", "policies", "policies/*", "policies/effective", "policies/verdict", "api", "xds",
	},
	"cmd": {
		"controller", "webhook", "xds", "infra", "translator", "policies", "policies/*",
		"policies/verdict", "manifests", "api",
	},
	"manifests": {},
}

// folder answers with the entry of arrows that a package's path belongs to, empty if there is none, and with the part
// of the path that makes up the folder.
func folder(path string) (entry, own string) {
	parts := strings.Split(path, "/")
	if len(parts) > 1 {
		own = parts[0] + "/" + parts[1]
		for _, name := range []string{own, parts[0] + "/*"} {
			if _, ok := arrows[name]; ok {
				return name, own
			}
		}
	}
	if _, ok := arrows[parts[0]]; ok {
		return parts[0], parts[0]
	}
	return "", ""
}

// TestImportArrows: imports go one way, from the command down to the API types, and features do not know each other.
func TestImportArrows(t *testing.T) {
	for _, s := range sources(t) {
		if strings.HasPrefix(s.path, "tests/") {
			continue // A module of its own, which sees the control plane only from outside.
		}
		from, own := folder(path.Dir(s.path))
		if from == "" {
			t.Errorf("%s lies in a folder without arrows: say in arrows what it may import", s.path)
			continue
		}
		for _, i := range s.file.Imports {
			target, ours := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "gatehouse/")
			if !ours {
				continue
			}
			to, toOwn := folder(target)
			if toOwn != own && !slices.Contains(arrows[from], to) {
				t.Errorf("%s imports %s, but %s may import only %v", s.path, target, from, arrows[from])
			}
		}
	}
}

// list runs go list in the control plane's module and answers with what it prints.
func list(t *testing.T, arguments ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, arguments...)...)
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", arguments, err, stderr.String())
	}
	return strings.Fields(string(out))
}

// TestTranslationIsPure: the translation reaches no network, not even through what it imports. A linter sees only the
// first step.
func TestTranslationIsPure(t *testing.T) {
	for _, dep := range list(t, "-deps", "./translator/...", "./policies/...") {
		for _, banned := range []string{
			"k8s.io/client-go", "google.golang.org/grpc",
			"github.com/envoyproxy/go-control-plane/envoy/service",
		} {
			if dep == banned || strings.HasPrefix(dep, banned+"/") {
				t.Errorf("translator or policies depend on %s; `go list -deps` and `go mod why` tell by which way", dep)
			}
		}
	}
}

// TestModulesNameOneGo: the Makefile builds every module with the Go that go.mod of the root names.
func TestModulesNameOneGo(t *testing.T) {
	modules, names := files(t, "/go.mod"), map[string][]string{}
	for _, module := range modules {
		for line := range strings.Lines(read(t, module)) {
			if verb, name, _ := strings.Cut(strings.TrimSpace(line), " "); verb == "go" || verb == "toolchain" {
				names[name] = append(names[name], module)
			}
		}
	}
	if len(modules) < 5 || len(names) != 1 {
		t.Errorf("%d modules name these versions of Go, which must be one: %v", len(modules), names)
	}
}

// TestScriptsNameTheGo: scripts that call go, or a tool that does, build with the Go of go.mod where make has not named
// it.
func TestScriptsNameTheGo(t *testing.T) {
	calls := regexp.MustCompile(`\bgo (-C \S+ )?(build|list|mod|run|test)\b|bin/(controller-gen|golangci-lint)`)
	called := 0
	for _, script := range files(t, ".sh") {
		text := read(t, script)
		if !calls.MatchString(text) {
			continue
		}
		called++
		if !strings.Contains(text, "export GOTOOLCHAIN=") {
			t.Errorf("%s calls go: let it export GOTOOLCHAIN as tests/fuzz.sh does", script)
		}
	}
	if called < 8 {
		t.Errorf("only %d scripts call go", called)
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
			t.Errorf("%s: package %s says nothing: name it after what it holds", s.path, name)
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

// TestNoThirdForm: the translation has no struct of its own for what the API, ours or Gateway API's, already has one
// for.
func TestNoThirdForm(t *testing.T) {
	api := map[string]string{}
	all := sources(t)
	for _, s := range all {
		if strings.HasPrefix(s.path, "api/") {
			for _, name := range structs(s.file) {
				api[name] = s.path
			}
		}
	}
	gateway := 0
	for _, dir := range list(t, "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api/apis/v1") {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range structs(file) {
				api[name] = "Gateway API"
				gateway++
			}
		}
	}
	if gateway < 50 {
		t.Fatalf("found only %d structs in Gateway API", gateway)
	}
	for _, s := range all {
		if !strings.HasPrefix(s.path, "translator/") {
			continue
		}
		for _, name := range structs(s.file) {
			if where, ok := api[name]; ok {
				t.Errorf("%s: struct %s is also one of %s; hold a pointer to that one", s.path, name, where)
			}
		}
	}
}

// structs lists the names of a file's struct types.
func structs(file *ast.File) []string {
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if _, is := spec.Type.(*ast.StructType); is {
				names = append(names, spec.Name.Name)
			}
		}
		return true
	})
	return names
}

// TestDependenciesAreExplained: each module that one of our two modules needs itself has its sentence in
// docs/dependencies.md.
func TestDependenciesAreExplained(t *testing.T) {
	page, needed := read(t, "../docs/dependencies.md"), map[string]bool{}
	for _, file := range []string{"../go.mod", "go.mod"} {
		for line := range strings.Lines(read(t, file)) {
			module, version, ok := strings.Cut(strings.TrimSpace(line), " ")
			if ok && strings.HasPrefix(line, "\t") && strings.HasPrefix(version, "v") &&
				!strings.HasSuffix(version, "// indirect") {
				needed[module] = true
			}
		}
	}
	for module := range needed {
		if !strings.Contains(page, "\n| "+module+" | ") {
			t.Errorf("%s is a dependency without a sentence in docs/dependencies.md", module)
		}
	}
}
