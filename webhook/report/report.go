// Package report writes what a review of manifests found, for people and for the tools of pull requests.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/webhook/offline"
)

// writers are the formats by name.
var writers = map[string]Writer{
	"text": text, "json": plain, "junit": junit, "sarif": sarif, "github": github, "gitlab": gitlab,
}

// Formats lists the names of the formats.
func Formats() []string { return slices.Sorted(maps.Keys(writers)) }

// Writer writes a review.
type Writer func(io.Writer, *offline.Review) error

// In returns the writer of a format, or an error that lists the formats.
func In(format string) (Writer, error) {
	write, ok := writers[format]
	if !ok {
		return nil, fmt.Errorf("%q is not a format: use %s", format, strings.Join(Formats(), ", "))
	}
	return write, nil
}

// severity is error for what admission denies, warning for what it tells the user, and note for what it only writes into
// the audit log.
func severity(f *offline.Finding) string {
	switch {
	case f.Denied:
		return "error"
	case f.Noted:
		return "note"
	}
	return "warning"
}

// sentence is the finding in one line, with the object.
func sentence(f *offline.Finding) string {
	if f.Object.Kind == "" {
		return f.String()
	}
	return f.Object.String() + ": " + f.String()
}

// text is for people: each finding with the line that it is about, and a summary.
func text(to io.Writer, r *offline.Review) error {
	var b strings.Builder
	for i := range r.Findings {
		f := &r.Findings[i]
		fmt.Fprintf(&b, "%s:%d:%d: %s: %s\n", f.File, f.Line, f.Column, severity(f), string(printable(sentence(f))))
		if f.Text != "" {
			before, behind := excerpt(f.Text, f.Column)
			fmt.Fprintf(&b, "%6d | %s%s\n       | %s^\n", f.Line, string(before), string(behind), string(blank(before)))
		}
	}
	fmt.Fprintln(&b, Summary(r))
	_, err := io.WriteString(to, b.String())
	return err
}

// shown is how many characters of a line are shown. JSON can have all of its objects in one line.
const shown = 160

// excerpt is the part of a line around a column: what is before the column, and the rest.
func excerpt(line string, column int) (before, behind []rune) {
	at := max(column-1, 0)
	first := max(at-shown/2, 0)
	if utf8.RuneCountInString(line) <= shown {
		first = 0
	}
	begin, middle, end, n := len(line), len(line), len(line), 0
	for i := range line {
		switch n {
		case first:
			begin = i
		case first + shown:
			end = i
		}
		if n == at {
			middle = i
		}
		if n++; n > first+shown {
			break
		}
	}
	before, behind = printable(line[min(begin, middle):middle]), printable(line[middle:end])
	if begin > 0 {
		before = append([]rune{'…'}, before...)
	}
	if end < len(line) {
		behind = append(behind, '…')
	}
	return before, behind
}

// printable replaces what would change a terminal.
func printable(line string) []rune {
	runes := []rune(line)
	for i, c := range runes {
		if c != '\t' && !unicode.IsPrint(c) {
			runes[i] = unicode.ReplacementChar
		}
	}
	return runes
}

// blank is as wide as the text. Tabs stay tabs.
func blank(text []rune) []rune {
	spaces := slices.Clone(text)
	for i, c := range spaces {
		if c != '\t' {
			spaces[i] = ' '
		}
	}
	return spaces
}

// Summary is the last line of a review.
func Summary(r *offline.Review) string {
	counts := map[string]int{}
	for i := range r.Findings {
		counts[severity(&r.Findings[i])]++
	}
	line := fmt.Sprintf("%s judged: %s, %s", count(len(r.Judged), "object"), count(counts["error"], "error"),
		count(counts["warning"], "warning"))
	if counts["note"] > 0 {
		line += ", " + count(counts["note"], "note")
	}
	if r.Old > 0 {
		line += fmt.Sprintf("; %s of the baseline", count(r.Old, "finding"))
	}
	if r.Ignored > 0 {
		line += fmt.Sprintf("; %s of kinds that Gatehouse does not read", count(r.Ignored, "object"))
	}
	if r.NotObjects > 0 {
		line += fmt.Sprintf("; %s not of Kubernetes", count(r.NotObjects, "document"))
	}
	return line
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// finding is a finding in JSON.
type finding struct {
	File        string `json:"file"`
	Line        int    `json:"line"`
	Column      int    `json:"column"`
	Severity    string `json:"severity"`
	Group       string `json:"group,omitempty"`
	Kind        string `json:"kind,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	Field       string `json:"field,omitempty"`
	Rule        string `json:"rule,omitempty"`
	Reason      string `json:"reason"`
	Weight      string `json:"weight"`
	Message     string `json:"message"`
	Fingerprint string `json:"fingerprint"`
}

// plain is for scripts.
func plain(to io.Writer, r *offline.Review) error {
	list := []finding{} // An empty list, and not null.
	for i := range r.Findings {
		f := &r.Findings[i]
		list = append(list, finding{
			File: f.File, Line: f.Line, Column: f.Column, Severity: severity(f),
			Group: f.Object.Group, Kind: f.Object.Kind, Namespace: f.Object.Namespace, Name: f.Object.Name,
			Field: f.Field, Rule: f.Rule, Reason: f.Reason, Weight: f.Weight.String(), Message: f.Message, Fingerprint: f.Fingerprint,
		})
	}
	return indented(to, map[string]any{
		"judged": len(r.Judged), "ignored": r.Ignored, "baseline": r.Old, "findings": list,
	})
}

func indented(to io.Writer, value any) error {
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// github is the workflow commands of GitHub Actions, which annotate the lines of a pull request.
func github(to io.Writer, r *offline.Review) error {
	value := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	commands := map[string]string{"error": "error", "warning": "warning", "note": "notice"}
	var b strings.Builder
	for i := range r.Findings {
		f := &r.Findings[i]
		fmt.Fprintf(&b, "::%s file=%s,line=%d,col=%d,title=%s::%s\n", commands[severity(f)], property.Replace(f.File), f.Line, f.Column,
			property.Replace(f.Reason), value.Replace(sentence(f)))
	}
	fmt.Fprintln(&b, Summary(r))
	_, err := io.WriteString(to, b.String())
	return err
}

// gitlab is a report of GitLab's Code Quality.
func gitlab(to io.Writer, r *offline.Review) error {
	type issue struct {
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
	severities := map[string]string{"error": "major", "warning": "minor", "note": "info"}
	list := []issue{}
	for i := range r.Findings {
		f := &r.Findings[i]
		each := issue{
			Description: sentence(f), CheckName: f.Reason, Fingerprint: f.Fingerprint,
			Severity: severities[severity(f)],
		}
		each.Location.Path, each.Location.Lines.Begin = f.File, f.Line
		list = append(list, each)
	}
	return indented(to, list)
}
