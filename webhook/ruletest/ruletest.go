// Package ruletest runs tests of AdmissionRules that are written in YAML: objects, and what the rules must say about
// them.
package ruletest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"gatehouse/policies/admissionrule"
	"gatehouse/policies/rules/packs"
	"gatehouse/translator"
	"gatehouse/webhook"
	"gatehouse/webhook/offline"
)

// File is a file with tests.
type File struct {
	// Rules are packs by their names, and files and folders, relative to this file, with the rules, and with the
	// exceptions, Namespaces and ConfigMaps that they are evaluated with.
	Rules []string `json:"rules"`
	// Stored is what is in the cluster before each test.
	Stored Stored `json:"stored,omitempty"`
	// Now is the time at which exceptions may have expired. Default: the clock.
	Now *time.Time `json:"now,omitempty"`
	// Tests are run in order.
	Tests []Test `json:"tests"`
}

// Test is one request, and what the rules must say about it.
type Test struct {
	Name string `json:"name"`
	// Stored is in the cluster too.
	Stored Stored `json:"stored,omitempty"`
	// Object is stored; with OldObject it is an update. OldObject alone is deleted.
	Object    json.RawMessage `json:"object,omitempty"`
	OldObject json.RawMessage `json:"oldObject,omitempty"`
	// User sends the request.
	User User `json:"user,omitempty"`
	// Expect are all findings, in any order. None means that the rules say nothing.
	Expect []Expected `json:"expect,omitempty"`
	// ExpectObject is what the mutations of the rules make of the object, or a part of it: lists are compared as a whole,
	// and fields that are not named may be anything. None means that they change nothing.
	ExpectObject json.RawMessage `json:"expectObject,omitempty"`
}

// Stored is a list of objects, and of files and folders with objects, relative to the file with the tests.
type Stored []json.RawMessage

// User is who sends a request.
type User struct {
	Name   string   `json:"name,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

// Expected is a finding. Fields that are empty may be anything.
type Expected struct {
	Rule string `json:"rule"`
	// Outcome is deny, warn, audit or excepted.
	Outcome string `json:"outcome,omitempty"`
	Field   string `json:"field,omitempty"`
	// Message is a part of the message.
	Message string `json:"message,omitempty"`
}

// Options are what tests are run with.
type Options struct {
	CRDs []*apiextensionsv1.CustomResourceDefinition
	// Scheme knows the kinds that the control plane reads.
	Scheme *runtime.Scheme
	// NewWorld returns empty tables.
	NewWorld func() *translator.World
}

// Result counts the tests of a file.
type Result struct{ Passed, Failed int }

// Run runs the tests of a file, and writes a line for each. A rule that admission would refuse is a failed test. An
// error means that a file cannot be read.
func (o Options) Run(ctx context.Context, name string, to io.Writer) (Result, error) {
	var result Result
	file, err := read(name)
	if err != nil {
		return result, err
	}
	var paths []string
	for _, rule := range file.Rules {
		if _, pack := packs.Open(rule); !pack {
			rule = filepath.Join(filepath.Dir(name), rule)
		}
		paths = append(paths, rule)
	}
	platform, err := offline.ReadPlatform(o.CRDs, paths)
	if err != nil {
		return result, err
	}
	if file.Now != nil {
		platform.Now = *file.Now
	}
	note := func(test string, wrong []string) {
		word := "ok  "
		if result.Passed++; len(wrong) > 0 {
			word = "FAIL"
			result.Passed--
			result.Failed++
		}
		_, _ = fmt.Fprintf(to, "%s %s: %s\n", word, name, test)
		for _, w := range wrong {
			_, _ = fmt.Fprintf(to, "     %s\n", w)
		}
	}
	var broken []string
	for _, f := range platform.Findings {
		if f.Denied {
			broken = append(broken, fmt.Sprintf("%s:%d:%d: %s: %s", f.File, f.Line, f.Column, f.Object, f.String()))
		}
	}
	note("the rules compile", broken)
	for i := range file.Tests {
		t := &file.Tests[i]
		cluster, err := o.cluster(platform, filepath.Dir(name), slices.Concat(file.Stored, t.Stored))
		if err != nil {
			return result, fmt.Errorf("%s: test %q: %w", name, t.Name, err)
		}
		wrong, err := t.run(ctx, cluster)
		if err != nil {
			return result, fmt.Errorf("%s: test %q: %w", name, t.Name, err)
		}
		note(t.Name, wrong)
	}
	return result, nil
}

func read(name string) (*File, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	file := &File{}
	if err := yaml.UnmarshalStrict(text, file); err != nil {
		return nil, fmt.Errorf("%s is not a file of rule tests: %s", name, strings.Join(strings.Fields(err.Error()), " "))
	}
	if len(file.Rules) == 0 || len(file.Tests) == 0 {
		return nil, fmt.Errorf("%s is not a file of rule tests: write rules and tests", name)
	}
	return file, nil
}

// cluster is what a test finds.
func (o Options) cluster(platform *offline.Platform, folder string, stored Stored) (*offline.Cluster, error) {
	var paths []string
	var objects []json.RawMessage
	for _, each := range stored {
		var path string
		if json.Unmarshal(each, &path) == nil {
			paths = append(paths, filepath.Join(folder, path))
		} else {
			objects = append(objects, each)
		}
	}
	return platform.Stored(offline.Options{
		CRDs: o.CRDs, Scheme: o.Scheme, World: o.NewWorld(), Namespace: "default", Level: webhook.LevelOff,
	}, paths, objects)
}

// run returns what is not as expected.
func (t *Test) run(ctx context.Context, cluster *offline.Cluster) ([]string, error) {
	q := offline.Request{Username: t.User.Name, Groups: t.User.Groups}
	var err error
	if len(t.Object) == 0 && len(t.OldObject) == 0 {
		return nil, errors.New("it changes nothing: write object, or oldObject for a deletion")
	}
	if len(t.Object) > 0 {
		if q.Object, err = offline.Values(t.Object); err != nil {
			return nil, err
		}
	}
	if len(t.OldObject) > 0 {
		if q.OldObject, err = offline.Values(t.OldObject); err != nil {
			return nil, err
		}
	}
	mutated, err := cluster.Mutate(ctx, q)
	if err != nil {
		return nil, err
	}
	wrong, err := t.compare(mutated)
	if err != nil {
		return nil, err
	}
	q.Object = mutated.Object
	found, err := cluster.Judge(ctx, q)
	if err != nil {
		return nil, err
	}
	found = append(mutated.Findings, found...)
	var missing []string
	for _, e := range t.Expect {
		at := slices.IndexFunc(found, func(f admissionrule.Finding) bool { return e.is(&f) })
		if at < 0 {
			missing = append(missing, e.String())
			continue
		}
		found = slices.Delete(found, at, at+1)
	}
	var got []string
	for i := range found {
		got = append(got, fmt.Sprintf("%s by rule %s: %s", outcome(&found[i]), found[i].Rule, found[i].Problem))
	}
	if len(missing) == 0 && len(got) == 0 {
		return wrong, nil
	}
	return slices.Concat(wrong, lines("expected: ", missing), lines("got:      ", got)), nil
}

// compare returns what the mutations have not made as expected.
func (t *Test) compare(mutated *admissionrule.Mutated) ([]string, error) {
	if len(t.ExpectObject) == 0 {
		var made []string
		for i := range mutated.Changes {
			made = append(made, mutated.Changes[i].Made().String())
		}
		if len(made) == 0 {
			return nil, nil
		}
		return slices.Concat(lines("expected: ", []string{"no mutations, because there is no expectObject"}), lines("got:      ", made)), nil
	}
	want, err := offline.Values(t.ExpectObject)
	if err != nil {
		return nil, err
	}
	return differences("", want, mutated.Object), nil
}

// differences lists the fields that are not as wanted, or are missing.
func differences(path string, want, got any) (all []string) {
	fields, named := want.(map[string]any)
	inside, there := got.(map[string]any)
	if named && there {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			all = append(all, differences(path+"."+name, fields[name], inside[name])...)
		}
		return all
	}
	if reflect.DeepEqual(want, got) {
		return nil
	}
	text := func(value any) string {
		raw, _ := json.Marshal(value) // It was decoded from JSON.
		return string(raw)
	}
	path = strings.TrimPrefix(path, ".")
	return slices.Concat(lines("expected: ", []string{path + ": " + text(want)}), lines("got:      ", []string{path + ": " + text(got)}))
}

// lines are what there is, behind a word; the word says so if that is nothing.
func lines(word string, all []string) []string {
	if len(all) == 0 {
		return []string{word + "nothing"}
	}
	var lines []string
	for _, each := range all {
		lines = append(lines, word+each)
	}
	return lines
}

func (e Expected) is(f *admissionrule.Finding) bool {
	return e.Rule == f.Rule && (e.Outcome == "" || e.Outcome == outcome(f)) && (e.Field == "" || e.Field == f.Field) &&
		strings.Contains(f.Message, e.Message)
}

// String is the finding as it is expected.
func (e Expected) String() string {
	text := "a finding"
	if e.Outcome != "" {
		text = e.Outcome
	}
	text += " by rule " + e.Rule
	if e.Field != "" {
		text += ": " + e.Field
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// outcome is what happens for a finding.
func outcome(f *admissionrule.Finding) string {
	switch {
	case f.Excepted:
		return "excepted"
	case f.Severity == "deny" && f.Before:
		return "warn"
	}
	return string(f.Severity)
}
