package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestVulnerabilitiesThatAreCalled: what is called fails, whatever else is known, and each is told once with the
// version that fixes it.
func TestVulnerabilitiesThatAreCalled(t *testing.T) {
	const about = `{"config":{"protocol_version":"v1.0.0"}}
{"osv":{"id":"GO-1","summary":"one"}} {"osv":{"id":"GO-2","summary":"two"}}`
	finding := func(id, module, function string) string {
		return `{"finding":{"osv":"` + id + `","fixed_version":"v9","trace":[{"module":"` + module +
			`","version":"v1","function":"` + function + `"},{"module":"own","function":"main"}]}}`
	}
	for name, c := range map[string]struct {
		report, want string
		fails        bool
	}{
		"nothing": {about, "0 known, 0 of them", false},
		"called": {
			about + finding("GO-1", "m", "") + finding("GO-1", "m", "F") + finding("GO-1", "m", ""),
			"m v1: GO-1, called, fixed in v9\n    one\n1 known, 1 of them", true,
		},
		"not called": {
			about + finding("GO-2", "m", ""),
			"m v1: GO-2, not called, fixed in v9\n    two\n1 known, 0 of them", false,
		},
		"in the library": {
			about + finding("GO-1", "stdlib", "F"),
			"stdlib v1: GO-1, called, fixed in v9\n    one\n1 known, 1 of them", true,
		},
		"not a report": {"no", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			var told strings.Builder
			err := judgeVulnerabilities(strings.NewReader(c.report), &told)
			if (err != nil) != c.fails || !strings.HasPrefix(told.String(), c.want) {
				t.Errorf("%v\n%s", err, told.String())
			}
		})
	}
}

// TestLicences: a component whose licence is not allowed, or not known, is named.
func TestLicences(t *testing.T) {
	one := func(name, licence string) string {
		return `{"name":"` + name + `","evidence":{"licenses":[{"license":{"id":"` + licence + `"}}]}}`
	}
	for report, named := range map[string]string{
		`{"components":[` + one("a", "MIT") + `,` + one("b", "Apache-2.0") + `]}`: "",
		`{"components":[` + one("a", "MIT") + `,` + one("b", "AGPL-3.0") + `]}`:   "b  [AGPL-3.0]",
		`{"components":[` + one("a", "MIT") + `,{"name":"c","version":"v1"}]}`:    "c v1 []",
		`{"components":[]}`: "lists nothing",
	} {
		var told strings.Builder
		err := judgeLicences(strings.NewReader(report), &told)
		if (err == nil) != (named == "") || err != nil && !strings.Contains(err.Error(), named) {
			t.Errorf("%s: %v", report, err)
		}
	}
}

// fetches are the ways in which a script brings something in past go.sum.
var fetches = regexp.MustCompile(`\b(curl|wget)\b.*https?://[^$"'{ ]*\.|\b(pip3?|-m pip) (download|install)|\bgo (install|run|get) \S+@|\bgit clone\b|GONOSUMDB|GONOSUMCHECK|GOINSECURE|GOFLAGS=-insecure|GOSUMDB=off`)

// used finds the actions of a workflow, and pinned those that are named by the id of a commit.
var (
	used   = regexp.MustCompile(`(?m)^\s*(?:- )?uses: *(\S+)`)
	pinned = regexp.MustCompile(`@[0-9a-f]{40}$`)
)

// TestActionsArePinned: workflows name each action by the id of a commit, which says what it is made of. A tag could be
// moved.
func TestActionsArePinned(t *testing.T) {
	workflows, err := filepath.Glob("../../.github/workflows/*")
	if err != nil || len(workflows) < 2 {
		t.Fatalf("%d workflows: %v", len(workflows), err)
	}
	for _, path := range workflows {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		actions := used.FindAllStringSubmatch(string(text), -1)
		if len(actions) == 0 {
			t.Errorf("%s uses no action", path)
		}
		for _, action := range actions {
			if !pinned.MatchString(action[1]) {
				t.Errorf("%s uses %s: name it by the id of a commit", path, action[1])
			}
		}
	}
}

// TestDownloadsHaveHashes: each module has its hashes beside it, and no script brings in anything else that is not held
// against a hash of the repository.
func TestDownloadsHaveHashes(t *testing.T) {
	scripts := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir() && (name == "bin" || name == ".git" || name == ".cluster"):
			return filepath.SkipDir
		case name == "go.mod":
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), "go.sum")); err != nil {
				t.Errorf("%s has no hashes beside it: %v", path, err)
			}
		case strings.HasSuffix(name, ".sh"), name == "Makefile", name == "run", name == "Containerfile",
			strings.Contains(path, ".github/workflows/") && !d.IsDir():
			scripts++
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
				if fetches.MatchString(line) && !strings.Contains(line, "--require-hashes") {
					t.Errorf("%s brings in what no hash is known of: %s", path, line)
				}
			}
		}
		return nil
	})
	if err != nil || scripts < 5 {
		t.Errorf("%d scripts: %v", scripts, err)
	}
	for _, line := range []string{
		"curl -sSL https://example.com/tool", "python3 -m pip install envoy",
		"go install example.com/tool@latest", "go run example.com/x@v1",
	} {
		if !fetches.MatchString(line) {
			t.Errorf("%q would pass", line)
		}
	}
}
