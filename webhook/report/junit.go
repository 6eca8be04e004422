package report

import (
	"encoding/xml"
	"fmt"
	"io"

	"gatehouse/policies/verdict"
	"gatehouse/webhook/offline"
)

type suites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Suites   []suite  `xml:"testsuite"`
}

type suite struct {
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Name      string    `xml:"name,attr"`
	ClassName string    `xml:"classname,attr"`
	File      string    `xml:"file,attr,omitempty"`
	Failures  []failure `xml:"failure"`
	Output    string    `xml:"system-out,omitempty"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// junit has a test case for each object that was judged, and for each document that cannot be read. What admission
// denies is a failure. Warnings are the output of the test case.
func junit(to io.Writer, r *offline.Review) error {
	s := suite{Name: "gatehouse check"}
	at := map[verdict.Ref]int{}
	for _, ref := range r.Judged {
		at[ref] = len(s.Cases)
		s.Cases = append(s.Cases, testCase{Name: ref.String(), ClassName: ref.Kind, File: r.File(ref)})
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		n, ok := at[f.Object]
		if !ok {
			n = len(s.Cases)
			s.Cases = append(s.Cases, testCase{Name: fmt.Sprintf("%s:%d", f.File, f.Line), ClassName: f.Object.Kind})
		}
		c := &s.Cases[n]
		c.File = f.File
		line := fmt.Sprintf("%s:%d:%d: %s\n", f.File, f.Line, f.Column, f.String())
		if f.Denied {
			c.Failures = append(c.Failures, failure{Message: f.String(), Type: f.Reason, Text: line})
		} else {
			c.Output += line
		}
	}
	for _, c := range s.Cases {
		if len(c.Failures) > 0 {
			s.Failures++
		}
	}
	s.Tests = len(s.Cases)
	if _, err := io.WriteString(to, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(to)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suites{Name: s.Name, Tests: s.Tests, Failures: s.Failures, Suites: []suite{s}}); err != nil {
		return err
	}
	_, err := io.WriteString(to, "\n")
	return err
}
