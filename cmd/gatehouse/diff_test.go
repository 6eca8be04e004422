package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// TestDiffOfRevisions compares what was committed with what was not: a folder, a file, and the whole of a
// repository. Symbolic links lead to files as in a folder.
func TestDiffOfRevisions(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/diff.txtar")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	run := func(arguments ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{
			"-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false",
		}, arguments...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", arguments, err, out)
		}
	}
	content := map[string][]byte{}
	for _, f := range archive.Files {
		content[f.Name] = f.Data
	}
	put := func(name, from string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content[from], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("init", "-q")
	put("deploy/sub folder/gateway.yaml", "old/gateway.yaml")
	put("deploy/routes.yaml", "old/routes.yaml")
	put("deploy/notes.txt", "old/routes.yaml")
	run("add", ".")
	run("commit", "-q", "-m", "first")
	links := map[string]string{
		"linked/routes.yaml": "../deploy/routes.yaml", "linked/gateway.yaml": "../deploy/sub folder/gateway.yaml",
		"linked/outside.yaml": filepath.Join(t.TempDir(), "outside.yaml"), "linked/folder.yaml": "../deploy",
	}
	for name, to := range links {
		if err := os.MkdirAll("linked", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(links["linked/outside.yaml"], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run("add", ".")
	run("commit", "-q", "-m", "links")
	for _, same := range []string{
		"HEAD:deploy deploy", "HEAD:deploy/ HEAD:deploy", "HEAD~1: deploy",
		"HEAD:deploy/routes.yaml deploy/routes.yaml", "HEAD:linked deploy", "HEAD:./linked/ linked", "HEAD~1:./ deploy",
		"HEAD:linked/routes.yaml linked/routes.yaml",
	} {
		if got := runCheck(t, "gatehouse diff "+same); got != "The traffic does not change.\n" {
			t.Errorf("diff %s: got %s", same, got)
		}
	}
	put("deploy/sub folder/gateway.yaml", "new/gateway.yaml")
	put("deploy/routes.yaml", "new/routes.yaml")
	got, want := runCheck(t, "gatehouse diff HEAD:deploy deploy"), string(content["gatehouse diff old new"])
	if got != want {
		t.Errorf("got %s\nwant what the folders differ in: %s", got, want)
	}
	if got := runCheck(t, "gatehouse diff HEAD:other deploy"); !strings.Contains(got, "git cat-file: ") ||
		!strings.HasSuffix(got, "exit code 2\n") {
		t.Errorf("a path that was not committed: got %s", got)
	}
}

// TestDiffOfGoldens translates each golden of the translation twice: nothing may differ, in the traffic of one half of
// them and in the resources of the other.
func TestDiffOfGoldens(t *testing.T) {
	names, err := filepath.Glob("../../translator/testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no goldens found: %v", err)
	}
	for i, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "input.yaml")
		if err := os.WriteFile(file, archive.Files[0].Data, 0o600); err != nil {
			t.Fatal(err)
		}
		flags, want := "", "The traffic does not change.\n"
		if i%2 == 1 {
			flags, want = " --xds", ""
		}
		if got := runCheck(t, "gatehouse diff "+file+" "+file+flags); got != want {
			t.Errorf("%s%s: got %s", name, flags, got)
		}
	}
}

// BenchmarkDiff compares two folders of 50,000 objects, of which 100 routes differ.
func BenchmarkDiff(b *testing.B) {
	const gateways, routes = 20, 16_000
	b.Chdir(b.TempDir())
	for _, side := range []string{"old", "new"} {
		if err := os.Mkdir(side, 0o700); err != nil {
			b.Fatal(err)
		}
		objects := 0
		put := func(name, text string, values ...any) {
			objects++
			file, err := os.OpenFile(filepath.Join(side, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				b.Fatal(err)
			}
			_, err = fmt.Fprintf(file, "---\n"+text, values...)
			if err := errors.Join(err, file.Close()); err != nil {
				b.Fatal(err)
			}
		}
		put("class.yaml", `{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: eg}, spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}}
`)
		for g := range gateways {
			put("class.yaml", `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g%d, namespace: shop}, spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}}
`, g)
		}
		for i := range routes {
			path := "/"
			if side == "new" && i%160 == 0 {
				path = "/new"
			}
			file := fmt.Sprintf("app-%d.yaml", i%1000)
			put(file, `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%d, namespace: shop}
spec:
  parentRefs: [{name: g%d}]
  hostnames: [h%d.example.com]
  rules:
  - matches: [{path: {value: %s}}]
    backendRefs: [{name: s%d, port: 80}]
`, i, i%gateways, i, path, i)
			put(file, `{apiVersion: v1, kind: Service, metadata: {name: s%d, namespace: shop}, spec: {ports: [{port: 80}]}}
`, i)
			put(file, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s%d-1, namespace: shop, labels: {kubernetes.io/service-name: s%d}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
`, i, i)
			if i%8 == 0 {
				put(file, `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: p%d, namespace: shop}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r%d}], timeout: {http: {requestTimeout: 5s}}}
`, i, i)
			}
		}
		if objects < 50_000 {
			b.Fatalf("only %d objects", objects)
		}
	}
	for b.Loop() {
		root, out := rootCommand(), &bytes.Buffer{}
		root.SetArgs([]string{"diff", "old", "new"})
		root.SetOut(out)
		if err := root.Execute(); !errors.Is(err, errChanges) {
			b.Fatalf("error %v", err)
		}
		if added := strings.Count(out.String(), ": /new/* added"); added != 100 {
			b.Fatalf("%d routes are added", added)
		}
	}
}
