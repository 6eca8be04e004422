// Package ci runs the examples of docs/ci, which judge manifests before they are applied.
package ci

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// wrong and right are a policy that admission denies, and the same one corrected.
const (
	wrong = `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: office, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: office}]
  authorization: {rules: [{action: Allow, principal: {clientCIDRs: [10.0.0.0/33]}}]}
`
	place   = "deploy/office.yaml:6:"
	message = `"10.0.0.0/33"`
)

var right = strings.Replace(wrong, "/33", "/24", 1)

// folders are the absolute paths of the repository's bin and docs/ci.
func folders(t *testing.T) (bin, docs string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "bin"), filepath.Join(root, "docs", "ci")
}

// read decodes a file of docs/ci strictly.
func read(t *testing.T, name string, into any) {
	t.Helper()
	_, docs := folders(t)
	text, err := os.ReadFile(filepath.Join(docs, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// put writes a file into the working directory.
func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// git runs git in the working directory, and returns what it prints and whether it succeeds.
func git(t *testing.T, arguments ...string) (string, bool) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", append([]string{
		"-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false",
	}, arguments...)...).CombinedOutput()
	return string(out), err == nil
}

// mustGit runs git, which must succeed.
func mustGit(t *testing.T, arguments ...string) string {
	t.Helper()
	out, ok := git(t, arguments...)
	if !ok {
		t.Fatalf("git %v: %s", arguments, out)
	}
	return out
}

// TestPreCommit: the hook refuses what is staged and wrong, and nothing else.
func TestPreCommit(t *testing.T) {
	bin, docs := folders(t)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Chdir(t.TempDir())
	mustGit(t, "init", "-q")
	hook, err := os.ReadFile(filepath.Join(docs, "pre-commit"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(".git/hooks/pre-commit", hook, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, "readme", "of a repository without manifests")
	mustGit(t, "add", ".")
	mustGit(t, "commit", "-m", "nothing to judge")

	put(t, "deploy/office.yaml", wrong)
	mustGit(t, "add", ".")
	out, ok := git(t, "commit", "-m", "wrong")
	if ok || !strings.Contains(out, place) || !strings.Contains(out, message) {
		t.Errorf("a wrong manifest: committed %t: %s", ok, out)
	}
	put(t, "deploy/office.yaml", right)
	if out, ok := git(t, "commit", "-m", "corrected, but not staged"); ok {
		t.Errorf("the hook judges the working tree and not what is staged: %s", out)
	}
	mustGit(t, "add", ".")
	put(t, "deploy/office.yaml", wrong)
	mustGit(t, "commit", "-m", "what is staged is right")

	put(t, "readme", "changed")
	mustGit(t, "commit", "-m", "no manifest is staged", "readme")

	put(t, "deploy/sub folder/more.yaml", "kind: [")
	mustGit(t, "add", "deploy/sub folder")
	if out, ok := git(t, "commit", "-m", "unreadable"); ok || !strings.Contains(out, "sub folder/more.yaml:1") {
		t.Errorf("a broken file: committed %t: %s", ok, out)
	}
	mustGit(t, "reset", "-q", "deploy")

	mustGit(t, "add", "deploy/office.yaml")
	put(t, "known.json", "")
	mustGit(t, "config", "gatehouse.baseline", "known.json")
	check := exec.CommandContext(t.Context(), "gatehouse", "check", "--write-baseline", "known.json", "deploy/office.yaml")
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mustGit(t, "add", "known.json")
	mustGit(t, "commit", "-m", "known findings pass")

	mustGit(t, "rm", "-qrf", "deploy")
	mustGit(t, "commit", "-m", "no manifests any more")
}

// container runs the program where docker would run it in a container: with the arguments behind the image.
const container = `#!/bin/sh
while [ "$1" != IMAGE ]; do shift; done
shift
exec gatehouse "$@"
`

// api takes the report instead of GitHub, from the file that is named behind sarif=@.
const api = `#!/bin/sh
for argument; do
  case "$argument" in sarif=@*) base64 -d "${argument#sarif=@}" | gunzip > "$OUT/uploaded.sarif" ;; esac
done
`

// pipeline makes a repository with a base and a change that is wrong, and programs for the steps of a job. It returns the
// environment of the steps, and the folder of what they write.
func pipeline(t *testing.T) (environment []string, out string) {
	t.Helper()
	bin, _ := folders(t)
	programs := t.TempDir()
	out = t.TempDir()
	for name, text := range map[string]string{"docker": container, "gh": api} {
		if err := os.WriteFile(filepath.Join(programs, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(t.TempDir())
	mustGit(t, "init", "-q")
	put(t, "deploy/office.yaml", right)
	mustGit(t, "add", ".")
	mustGit(t, "commit", "-qm", "base")
	base := strings.TrimSpace(mustGit(t, "rev-parse", "HEAD"))
	put(t, "deploy/office.yaml", wrong)
	mustGit(t, "commit", "-qam", "change")
	return append(os.Environ(),
		"PATH="+strings.Join([]string{programs, bin, os.Getenv("PATH")}, string(os.PathListSeparator)),
		"OUT="+out, "RUNNER_TEMP="+out, "GITHUB_STEP_SUMMARY="+filepath.Join(out, "summary.md"),
		"GITHUB_REPOSITORY=team/shop", "FOLDER=deploy", "IMAGE=IMAGE", "BASE="+base, "COMMIT=HEAD", "REF=refs/pull/1/head",
	), out
}

// step runs a script as the runners do it.
func step(t *testing.T, environment []string, script string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", script)
	cmd.Env = environment
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestGitHubWorkflow: actionlint has nothing against the workflow. Its steps write the summary, hand in the report, and
// annotate the line that is wrong.
func TestGitHubWorkflow(t *testing.T) {
	bin, docs := folders(t)
	if out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "actionlint"),
		filepath.Join(docs, "github.yaml")).CombinedOutput(); err != nil {
		t.Fatalf("actionlint: %v: %s", err, out)
	}
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct{ Name, Run string }
		}
	}
	read(t, "github.yaml", &workflow)
	environment, out := pipeline(t)
	var said []string
	var failures []bool
	for _, each := range workflow.Jobs["check"].Steps {
		if each.Run != "" {
			text, err := step(t, environment, each.Run)
			said, failures = append(said, each.Name+": "+text), append(failures, err != nil)
		}
	}
	if len(failures) != 3 || failures[0] || failures[1] || !failures[2] {
		t.Fatalf("of the steps failed %t: %s", failures, said)
	}
	if !strings.Contains(said[2], "::error file=deploy/office.yaml,line=6,") || !strings.Contains(said[2], message) {
		t.Errorf("the last step says %s", said[2])
	}
	for name, want := range map[string]string{"summary.md": "## ", "uploaded.sarif": `"version": "2.1.0"`} {
		text, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v: %s", name, err, text)
		}
	}
}

// TestGitLabJob: the job writes the two reports that it hands in, and fails with what is wrong.
func TestGitLabJob(t *testing.T) {
	var jobs map[string]struct {
		Script    []string
		Artifacts struct{ Reports map[string]string }
	}
	read(t, "gitlab.yaml", &jobs)
	job := jobs["gateway"]
	environment, _ := pipeline(t)
	text, err := step(t, environment, strings.Join(job.Script, "\n"))
	if err == nil || !strings.Contains(text, place) || !strings.Contains(text, message) {
		t.Errorf("the job says %v: %s", err, text)
	}
	for kind, want := range map[string]string{"codequality": `"check_name": "Invalid"`, "junit": "<testcase "} {
		report, err := os.ReadFile(job.Artifacts.Reports[kind])
		if err != nil || !bytes.Contains(report, []byte(want)) {
			t.Errorf("%s: %v: %s", kind, err, report)
		}
	}
}
