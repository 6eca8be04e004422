// Package reports gives the reports of gatehouse check to the programs for which they are made.
package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/xeipuuv/gojsonschema"
)

// manifests are files with an error, a warning, a document that cannot be read, and characters that formats must escape.
var manifests = map[string]string{
	"deploy/policy.yaml": `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: office, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: "50%, <all>"}]
  authorization:
    rules:
    - action: Allow
      principal:
        clientCIDRs: [10.0.0.0/33]
`,
	"deploy/sub folder/100%, <a>&b.yaml": `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a, namespace: shop}
spec: {parentRefs: [{name: eg}], rules: [{filter: []}]}
---
kind: [
`,
}

// check runs gatehouse check on files in a new folder, and returns what it prints on stdout.
func check(t *testing.T, files map[string]string, arguments ...string) []byte {
	t.Helper()
	program, err := filepath.Abs("../../bin/gatehouse")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Join(folder, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{"check"}, arguments...)...)
	cmd.Dir = folder
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("gatehouse check: %v: %s", err, out)
	}
	return out
}

// places are where findings are, and how grave they are, in the order of the report.
var places = []string{
	"warning deploy/policy.yaml:5", "error deploy/policy.yaml:10", "warning deploy/sub folder/100%, <a>&b.yaml:4",
	"error deploy/sub folder/100%, <a>&b.yaml:4", "error deploy/sub folder/100%, <a>&b.yaml:6",
}

// schema is the schema of SARIF 2.1.0 by OASIS, which is a constant of a library's source.
func schema(t *testing.T) *gojsonschema.Schema {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}",
		"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(folder)), "schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == "schema" {
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				text, err = strconv.Unquote(literal.Value)
			}
		}
		return true
	})
	if err != nil || !strings.Contains(text, `"Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema"`) {
		t.Fatalf("the library has no schema where it had one: %v", err)
	}
	compiled, err := gojsonschema.NewSchema(gojsonschema.NewStringLoader(text))
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// invalid lists what the schema says against a report.
func invalid(t *testing.T, schema *gojsonschema.Schema, report []byte) (all []string) {
	t.Helper()
	result, err := schema.Validate(gojsonschema.NewBytesLoader(report))
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range result.Errors() {
		all = append(all, each.String())
	}
	return all
}

// TestSARIF: the schema of SARIF admits the reports as they are printed. A library reads the place, the fingerprint and the
// rule of each result, and the rule has help.
func TestSARIF(t *testing.T) {
	schema := schema(t)
	text := check(t, manifests, "-o", "sarif", "deploy")
	for _, report := range [][]byte{text, check(t, map[string]string{"empty.yaml": ""}, "-o", "sarif", "empty.yaml")} {
		if found := invalid(t, schema, report); len(found) > 0 {
			t.Errorf("%q: %s", found, report)
		}
	}
	for _, right := range []string{`"version": "2.1.0"`, `"startLine": 5`, `"level": "warning"`} {
		wrong, _, _ := strings.Cut(right, ":")
		if len(invalid(t, schema, bytes.Replace(text, []byte(right), []byte(wrong+`: null`), 1))) == 0 {
			t.Errorf("the schema admits a report without %s", right)
		}
	}
	report, err := sarif.FromBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	run := report.Runs[0]
	var got []string
	for _, result := range run.Results {
		at := result.Locations[0].PhysicalLocation
		file, err := url.PathUnescape(*at.ArtifactLocation.URI)
		if err != nil {
			t.Error(err)
		}
		got = append(got, result.Level+" "+file+":"+strconv.Itoa(*at.Region.StartLine))
		if of := result.PartialFingerprints; of["gatehouse/v1"] == "" || of["primaryLocationLineHash"] != of["gatehouse/v1"] {
			t.Errorf("no fingerprint: %+v", result)
		}
		rule := run.Tool.Driver.Rules[result.RuleIndex]
		if *rule.ID != *result.RuleID || len(*rule.Help.Text) < 20 || len(*rule.ShortDescription.Text) < 20 {
			t.Errorf("the rule of a result is %+v", rule)
		}
	}
	if diff := cmp.Diff(places, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFingerprints: fingerprints stay when lines and entries of lists move, files and values change and findings are added
// before, and are the same in each format.
func TestFingerprints(t *testing.T) {
	of := func(files map[string]string) (all []string) {
		report, err := sarif.FromBytes(check(t, files, "-o", "sarif", "."))
		if err != nil {
			t.Fatal(err)
		}
		for _, result := range report.Runs[0].Results {
			all = append(all, result.PartialFingerprints["gatehouse/v1"])
		}
		return all
	}
	policy := manifests["deploy/policy.yaml"]
	before := of(map[string]string{"policy.yaml": policy})
	moved := "# One line more.\n" + strings.NewReplacer("/33", "/34", "50%", "60%",
		"    rules:\n", "    rules:\n    - {action: Deny, principal: {clientCIDRs: [10.1.0.0/16]}}\n").Replace(policy)
	after := of(map[string]string{"other/policy.yaml": moved, "a.yaml": manifests["deploy/sub folder/100%, <a>&b.yaml"]})
	slices.Sort(before)
	if len(before) != 2 || before[0] == before[1] {
		t.Fatalf("the fingerprints are %q", before)
	}
	for _, each := range before {
		if !slices.Contains(after, each) {
			t.Errorf("the fingerprint %s is gone; there are %q", each, after)
		}
	}
	slices.Sort(after)
	if len(after) != 5 || len(slices.Compact(after)) != 5 {
		t.Errorf("the fingerprints are %q, want five different ones", after)
	}
}

// TestJUnit: a parser of JUnit reads a test for each object and broken document, with its failure, file and warnings.
func TestJUnit(t *testing.T) {
	suites, err := junit.Ingest(check(t, manifests, "-o", "junit", "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	if len(suites) != 1 || suites[0].Totals.Tests != 3 || suites[0].Totals.Failed != 3 {
		t.Fatalf("the suites are %+v", suites)
	}
	type test struct{ Name, File, Type, Output string }
	var got []test
	for _, each := range suites[0].Tests {
		failure := junit.Error{}
		if !errors.As(each.Error, &failure) || !strings.Contains(failure.Body, failure.Message) {
			t.Errorf("the test %s has the error %v", each.Name, each.Error)
		}
		output, _, _ := strings.Cut(each.SystemOut, ": ")
		got = append(got, test{each.Name, each.Properties["file"], failure.Type, output})
	}
	want := []test{
		{"SecurityPolicy/shop/office", "deploy/policy.yaml", "Invalid", "deploy/policy.yaml:5:74"},
		{
			"HTTPRoute/shop/a", "deploy/sub folder/100%, <a>&b.yaml", "UnknownField",
			"deploy/sub folder/100%, <a>&b.yaml:4:28",
		},
		{"deploy/sub folder/100%, <a>&b.yaml:6", "deploy/sub folder/100%, <a>&b.yaml", "Unreadable", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// command is a workflow command of GitHub: its name, its properties and its text.
var command = regexp.MustCompile(`^::(error|warning) ([^:]+)::([^\r\n]+)$`)

// TestGitHubAnnotations reads the workflow commands as the runner of GitHub does: each finding has a file and a line.
func TestGitHubAnnotations(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(check(t, manifests, "-o", "github", "deploy"))), "\n")
	decoded := strings.NewReplacer("%3A", ":", "%2C", ",", "%0D", "\r", "%0A", "\n", "%25", "%")
	var got []string
	for _, line := range lines[:len(lines)-1] {
		found := command.FindStringSubmatch(line)
		if found == nil {
			t.Fatalf("no workflow command: %s", line)
		}
		properties := map[string]string{}
		for property := range strings.SplitSeq(found[2], ",") {
			name, value, _ := strings.Cut(property, "=")
			properties[name] = decoded.Replace(value)
		}
		if properties["title"] == "" || properties["col"] == "" {
			t.Errorf("no title or column: %s", line)
		}
		got = append(got, found[1]+" "+properties["file"]+":"+properties["line"])
	}
	if diff := cmp.Diff(places, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if text := string(check(t, manifests, "-o", "github", "deploy")); !strings.Contains(text, `HTTPRoute "50%25, <all>"`) {
		t.Errorf("the percent sign is not encoded: %s", text)
	}
}

// TestGitLabCodeQuality: the report has the fields that GitLab asks for, and no other ones.
func TestGitLabCodeQuality(t *testing.T) {
	var issues []struct {
		Description string `json:"description"`
		CheckName   string `json:"check_name"`
		Fingerprint string `json:"fingerprint"`
		Severity    string `json:"severity"`
		Location    struct {
			Path  string `json:"path"`
			Lines struct {
				Begin int `json:"begin"`
			} `json:"lines"`
		} `json:"location"`
	}
	decoder := json.NewDecoder(bytes.NewReader(check(t, manifests, "-o", "gitlab", "deploy")))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&issues); err != nil {
		t.Fatal(err)
	}
	severities := map[string]string{"major": "error", "minor": "warning"}
	var got, fingerprints []string
	for _, each := range issues {
		got = append(got, severities[each.Severity]+" "+each.Location.Path+":"+strconv.Itoa(each.Location.Lines.Begin))
		fingerprints = append(fingerprints, each.Fingerprint)
		if each.Description == "" || each.CheckName == "" || each.Fingerprint == "" {
			t.Errorf("a field is missing: %+v", each)
		}
	}
	if diff := cmp.Diff(places, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	slices.Sort(fingerprints)
	if len(slices.Compact(fingerprints)) != len(places) {
		t.Errorf("issues share a fingerprint: %q", fingerprints)
	}
}
