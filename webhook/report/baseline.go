package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gatehouse/webhook/offline"
)

// Baseline are the fingerprints of findings that are known and pass.
type Baseline map[string]bool

// BaselineOf are all findings of a review.
func BaselineOf(r *offline.Review) Baseline {
	b := Baseline{}
	for _, f := range r.Findings {
		b[f.Fingerprint] = true
	}
	return b
}

// ReadBaseline reads the findings of a report in format json. An error means that the text is something else.
func ReadBaseline(text []byte) (Baseline, error) {
	var of struct {
		Findings []finding `json:"findings"`
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return nil, fmt.Errorf("decoding a report: %w", err)
	}
	if of.Findings == nil {
		return nil, errors.New("this is no report in format json: it has no findings")
	}
	b := Baseline{}
	for _, f := range of.Findings {
		b[f.Fingerprint] = true
	}
	return b, nil
}

// Apply removes the findings that pass from a review, and counts them.
func (b Baseline) Apply(r *offline.Review) {
	all := len(r.Findings)
	r.Findings = slices.DeleteFunc(r.Findings, func(f offline.Finding) bool { return b[f.Fingerprint] })
	r.Old += all - len(r.Findings)
}
