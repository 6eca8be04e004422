package conformance

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"
)

// counts keeps what the suite says of each test.
type counts struct {
	out   io.Writer
	start time.Time

	mu      sync.Mutex
	outcome map[string]outcome
}

type outcome string

const (
	passed  outcome = "passed"
	failed  outcome = "failed"
	skipped outcome = "skipped"
)

func newCounts(out io.Writer) *counts {
	return &counts{out: out, start: time.Now(), outcome: map[string]outcome{}}
}

// record is the suite's hook, called at the end of each test, also of those that run beside others.
func (c *counts) record(t *testing.T, test suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
	c.mu.Lock()
	defer c.mu.Unlock()
	result := passed
	switch {
	case t.Failed():
		result = failed
	case t.Skipped():
		result = skipped
	}
	c.outcome[test.ShortName] = result
	if result != skipped {
		fmt.Fprintf(c.out, "%5.0fs  %s  %s\n", time.Since(c.start).Seconds(), result, test.ShortName)
	}
}

func (c *counts) names(of outcome) []string {
	var names []string
	for name, result := range c.outcome {
		if result == of {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// print tells how many tests passed, failed and were skipped, and the names of the latter two.
func (c *counts) print() {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, "\n%d tests passed in %.0f s\n", len(c.names(passed)), time.Since(c.start).Seconds())
	for _, result := range []outcome{failed, skipped} {
		names := c.names(result)
		fmt.Fprintf(c.out, "%d %s", len(names), result)
		if len(names) > 0 {
			fmt.Fprintf(c.out, ": %s", strings.Join(names, ", "))
		}
		fmt.Fprintln(c.out)
	}
}

// mustBeAll fails unless every test passed that needs no feature of a mesh and none that may be missing.
func (c *counts) mustBeAll(t *testing.T, without []features.FeatureName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wanted := gatewayFeatures().Delete(without...)
	var absent []string
	for _, test := range tests.ConformanceTests {
		if wanted.HasAll(test.Features...) && c.outcome[test.ShortName] != passed {
			absent = append(absent, fmt.Sprintf("%s (%s)", test.ShortName, cmp.Or(c.outcome[test.ShortName], "not run")))
		}
	}
	if len(absent) > 0 {
		t.Errorf("%d tests for Gateways did not pass: %s", len(absent), strings.Join(absent, ", "))
	}
}

// mustSupportAll fails if a report says of a feature that it is not supported, unless it may be missing. Not every
// feature has a test.
func mustSupportAll(t *testing.T, written string, without []features.FeatureName) {
	report, err := readReport(written)
	if err != nil {
		t.Errorf("read which features are supported: %v", err)
	}
	for _, profile := range report.ProfileReports {
		if profile.Extended == nil {
			continue // It has core features only.
		}
		for _, name := range profile.Extended.UnsupportedFeatures {
			if !slices.Contains(without, features.FeatureName(name)) {
				t.Errorf("%s: feature %s is not supported", profile.Name, name)
			}
		}
	}
}

// keepReport stores a report that the suite has just written where the last one is. The profiles are put in the order
// of their names, since the suite writes them in any order; and a report of the same results stays as it is, so that a
// run changes no file by its date alone.
func keepReport(t *testing.T, written, path string) {
	report, err := readReport(written)
	if err != nil {
		t.Errorf("read the suite's report: %v", err)
		return
	}
	slices.SortFunc(report.ProfileReports, func(a, b confv1.ProfileReport) int { return strings.Compare(a.Name, b.Name) })
	if last, err := readReport(path); err == nil {
		last.Date, last.Version = report.Date, report.Version
		if reflect.DeepEqual(last, report) {
			return
		}
	}
	text, err := yaml.Marshal(report)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		t.Errorf("write the report: %v", err)
	}
}

func readReport(path string) (confv1.ConformanceReport, error) {
	var report confv1.ConformanceReport
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.UnmarshalStrict(text, &report)
	}
	return report, err
}

// TestKeepReport: a report is stored with its profiles in order, and stays to the letter until a result is another one.
func TestKeepReport(t *testing.T) {
	written, path := filepath.Join(t.TempDir(), "written"), filepath.Join(t.TempDir(), "kept")
	keep := func(text string) string {
		if err := os.WriteFile(written, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		keepReport(t, written, path)
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(kept)
	}
	first := keep("date: one\nprofiles:\n- {name: B}\n- {name: A, core: {statistics: {Passed: 1}}}\n")
	if strings.Index(first, "name: A") > strings.Index(first, "name: B") {
		t.Errorf("the profiles are not in order:\n%s", first)
	}
	if second := keep("date: two\nprofiles:\n- {name: A, core: {statistics: {Passed: 1}}}\n- {name: B}\n"); second != first {
		t.Errorf("the same results were stored again:\n%s", second)
	}
	if third := keep("date: three\nprofiles:\n- {name: A, core: {statistics: {Passed: 2}}}\n- {name: B}\n"); !strings.Contains(third, "date: three") {
		t.Errorf("another result was not stored:\n%s", third)
	}
}
