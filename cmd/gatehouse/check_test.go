package main

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
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"gatehouse/api/crdtest"
	"gatehouse/manifests"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestMain gives the command the CRDs of Gateway API from its module, as make does.
func TestMain(m *testing.M) {
	crds, err := crdtest.CRDs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	definitions = func() ([]*apiextensionsv1.CustomResourceDefinition, bool, error) { return crds, true, nil }
	os.Exit(m.Run())
}

// TestCommands runs commands that work on manifests. A golden has the manifests, and runs of the command as files whose name is its arguments,
// with what it prints and its exit code.
func TestCommands(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no goldens found: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			path, err := filepath.Abs(name)
			if err != nil {
				t.Fatal(err)
			}
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			var runs []*txtar.File
			for i := range archive.Files {
				if f := &archive.Files[i]; strings.HasPrefix(f.Name, "gatehouse ") {
					runs = append(runs, f)
				} else if err := os.MkdirAll(filepath.Dir(f.Name), 0o700); err != nil {
					t.Fatal(err)
				} else if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if len(runs) == 0 {
				t.Fatal("the golden runs no command")
			}
			for _, f := range runs {
				got := runCheck(t, f.Name)
				if *update {
					f.Data = []byte(got)
				} else if diff := cmp.Diff(string(f.Data), got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestCheckWithoutCRDs: a program that was not built by make says on stderr what it cannot do, and does the rest.
func TestCheckWithoutCRDs(t *testing.T) {
	all := definitions
	t.Cleanup(func() { definitions = all })
	definitions = func() ([]*apiextensionsv1.CustomResourceDefinition, bool, error) {
		_, _, err := manifests.CRDs()
		return nil, false, err
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("class.yaml", []byte("apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n"+
		"metadata: {name: a}\nspec: {controllerName: example.com/a, unknown: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := `gatehouse: built without the CRDs of Gateway API, so its objects are not validated by them: build with make, or check the CRDs too
class.yaml:4:48: error: GatewayClass/a: spec.unknown: unknown field "spec.unknown": correct its name or remove it
     4 | spec: {controllerName: example.com/a, unknown: true}
       |                                                ^
1 object judged: 1 error, 0 warnings
gatehouse: admission would deny some of these objects
exit code 1
`
	if diff := cmp.Diff(want, runCheck(t, "gatehouse check class.yaml")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCheckWarnsOfALevelThatIsNone: a misspelt level of a Namespace is said at its label, and that of the flag holds.
func TestCheckWarnsOfALevelThatIsNone(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("namespace.yaml", []byte("apiVersion: v1\nkind: Namespace\n"+
		"metadata: {name: a, labels: {gatehouse.dev/admission: strikt}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := `namespace.yaml:3:55: warning: Namespace/a: metadata.labels[gatehouse.dev/admission]: "strikt" is not a level: use off, warn, enforce, strict
     3 | metadata: {name: a, labels: {gatehouse.dev/admission: strikt}}
       |                                                       ^
1 object judged: 0 errors, 1 warning
`
	if diff := cmp.Diff(want, runCheck(t, "gatehouse check --level warn namespace.yaml")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCheckWarnsOfUnknownKinds: a kind that a group does not have is warned of. The kinds of other groups may be anything.
func TestCheckWarnsOfUnknownKinds(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("a.yaml", []byte("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRuote\nmetadata: {name: a}\n"+
		"---\napiVersion: example.com/v1\nkind: HTTPRuote\nmetadata: {name: a}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := `a.yaml:2:7: warning: HTTPRuote/default/a: kind: no CRD defines kind "HTTPRuote" of group "gateway.networking.k8s.io": correct the kind, or check its CRD too
     2 | kind: HTTPRuote
       |       ^
0 objects judged: 0 errors, 1 warning; 2 objects of kinds that Gatehouse does not read
`
	if diff := cmp.Diff(want, runCheck(t, "gatehouse check a.yaml")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUnknownCommands: a misspelt command is a wrong call, and does not only show the help.
func TestUnknownCommands(t *testing.T) {
	for line, want := range map[string]string{
		"gatehouse chek deploy": "gatehouse: unknown command \"chek\" for \"gatehouse\"\nexit code 2\n",
		"gatehouse rules lst":   "gatehouse: unknown command \"lst\" for \"gatehouse rules\"\nexit code 2\n",
	} {
		if got := runCheck(t, line); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
	if got := runCheck(t, "gatehouse rules"); !strings.Contains(got, "Available Commands:") || strings.Contains(got, "exit code") {
		t.Errorf("without a command: %s", got)
	}
}

// runCheck runs a command line such as "gatehouse check - < file".
func runCheck(t *testing.T, line string) string {
	t.Helper()
	line, input, _ := strings.Cut(line, " < ")
	var stdin, out bytes.Buffer
	if input != "" {
		text, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		stdin.Write(text)
	}
	root := rootCommand()
	root.SetArgs(slices.Delete(strings.Fields(line), 0, 1))
	root.SetIn(&stdin)
	root.SetOut(&out)
	root.SetErr(&out)
	if err := root.Execute(); err != nil {
		fmt.Fprintf(&out, "gatehouse: %v\nexit code %d\n", err, exitCode(err))
	}
	return out.String()
}
