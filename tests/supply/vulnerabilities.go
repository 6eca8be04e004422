package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// message is one of the stream that govulncheck writes with -format json; of its fields one is set.
type message struct {
	OSV *struct {
		ID, Summary string
	} `json:"osv"`
	Finding *struct {
		OSV   string  `json:"osv"`
		Fixed string  `json:"fixed_version"`
		Trace []frame `json:"trace"`
	} `json:"finding"`
}

// frame is where something vulnerable is. Without a function it is only imported, without a package only required.
type frame struct {
	Module, Version, Package, Function string
}

// vulnerability is a known one of a module that the program has.
type vulnerability struct {
	ID, Module, Version, Fixed string
	// Called reports whether the program can reach it.
	Called bool
}

func (v vulnerability) String() string {
	reach := "not called"
	if v.Called {
		reach = "called"
	}
	return fmt.Sprintf("%s %s: %s, %s, fixed in %s", v.Module, v.Version, v.ID, reach, cmp.Or(v.Fixed, "no version yet"))
}

// judgeVulnerabilities fails if the program calls something vulnerable, of a module or of the standard library, for
// which go.mod can ask for another version.
func judgeVulnerabilities(report io.Reader, to io.Writer) error {
	all, summaries, err := readVulnerabilities(report)
	if err != nil {
		return err
	}
	bad := 0
	for _, v := range all {
		fmt.Fprintf(to, "%s\n    %s\n", v, summaries[v.ID])
		if v.Called {
			bad++
		}
	}
	fmt.Fprintf(to, "%d known, %d of them called\n", len(all), bad)
	if bad > 0 {
		return errors.New("known vulnerabilities are called; ask for the versions that fix them: go get MODULE@VERSION, or go get go@VERSION in each module for stdlib")
	}
	return nil
}

// readVulnerabilities lists each vulnerability of a module once, those that are called first, and answers with what
// each is about.
func readVulnerabilities(report io.Reader) ([]vulnerability, map[string]string, error) {
	found, summaries := map[string]vulnerability{}, map[string]string{}
	for decoder := json.NewDecoder(report); ; {
		var m message
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, nil, fmt.Errorf("reading what govulncheck found: %w", err)
		}
		if m.OSV != nil {
			summaries[m.OSV.ID] = m.OSV.Summary
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 {
			continue // Its configuration, or how far it is.
		}
		at := m.Finding.Trace[0]
		v := vulnerability{
			ID: m.Finding.OSV, Module: at.Module, Version: at.Version, Fixed: m.Finding.Fixed,
			Called: at.Function != "",
		}
		v.Called = v.Called || found[v.ID+v.Module].Called
		found[v.ID+v.Module] = v
	}
	all := make([]vulnerability, 0, len(found))
	for _, v := range found {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b vulnerability) int {
		if a.Called != b.Called {
			if a.Called {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Module, b.Module), cmp.Compare(a.ID, b.ID))
	})
	return all, summaries, nil
}
