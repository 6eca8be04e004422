package report

import (
	"io"
	"net/url"
	"path/filepath"

	"gatehouse/webhook/offline"
)

const (
	sarifSchema  = "https://json.schemastore.org/sarif-2.1.0.json"
	sarifVersion = "2.1.0"
	// githubFingerprint is the only partial fingerprint that GitHub's code scanning reads.
	githubFingerprint = "primaryLocationLineHash"
)

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver sarifDriver `json:"driver"`
	} `json:"tool"`
	// ColumnKind is what columns count.
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifDriver struct {
	Name  string      `json:"name"`
	Rules []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string    `json:"id"`
	ShortDescription sarifText `json:"shortDescription"`
	Help             sarifText `json:"help"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID       string            `json:"ruleId"`
	RuleIndex    int               `json:"ruleIndex"`
	Level        string            `json:"level"`
	Message      sarifText         `json:"message"`
	Locations    []sarifLocation   `json:"locations"`
	Fingerprints map[string]string `json:"partialFingerprints"`
}

type sarifLocation struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			Line   int `json:"startLine"`
			Column int `json:"startColumn"`
		} `json:"region"`
	} `json:"physicalLocation"`
}

// ruleOf is the rule of a finding: its AdmissionRule with what the owner says about it, or else its reason.
func ruleOf(f *offline.Finding) sarifRule {
	if f.Rule == "" {
		return sarifRule{
			ID: f.Reason, ShortDescription: sarifText{title(help(f.Reason))},
			Help: sarifText{help(f.Reason) + " The message of each result names the field, the value and the way out."},
		}
	}
	rule := sarifRule{
		ID: "AdmissionRule/" + f.Rule, ShortDescription: sarifText{"AdmissionRule " + f.Rule + " of the platform"},
		Help: sarifText{f.Help},
	}
	if f.Help == "" {
		rule.Help.Text = "A rule of the platform. The message says what it requires; its owner can say why."
	}
	return rule
}

// sarif is the Static Analysis Results Interchange Format, version 2.1.0 of OASIS. Its rules are AdmissionRules, and the
// reasons of all other problems.
func sarif(to io.Writer, r *offline.Review) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver.Name, run.Tool.Driver.Rules = "gatehouse", []sarifRule{}
	index := map[string]int{}
	for i := range r.Findings {
		f := &r.Findings[i]
		rule := ruleOf(f)
		n, ok := index[rule.ID]
		if !ok {
			n = len(run.Tool.Driver.Rules)
			index[rule.ID] = n
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, rule)
		}
		result := sarifResult{
			RuleID: rule.ID, RuleIndex: n, Level: severity(f), Message: sarifText{sentence(f)},
			Fingerprints: map[string]string{"gatehouse/v1": f.Fingerprint, githubFingerprint: f.Fingerprint},
		}
		var at sarifLocation
		at.Physical.Artifact.URI = (&url.URL{Path: filepath.ToSlash(f.File)}).String()
		at.Physical.Region.Line, at.Physical.Region.Column = max(f.Line, 1), max(f.Column, 1)
		result.Locations = []sarifLocation{at}
		run.Results = append(run.Results, result)
	}
	return indented(to, sarifLog{Schema: sarifSchema, Version: sarifVersion, Runs: []sarifRun{run}})
}
