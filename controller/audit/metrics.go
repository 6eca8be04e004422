package audit

import "github.com/prometheus/client_golang/prometheus"

// violationCounts counts what violates rules when metrics are read.
type violationCounts struct{ auditor *Auditor }

var violationsDesc = prometheus.NewDesc("gatehouse_admission_rule_violations",
	"How many times stored objects violate an AdmissionRule, by rule and outcome (violated, excepted; failed if the rule could not be evaluated). Only the leader has it.",
	[]string{"rule", "outcome"}, nil)

// Describe implements prometheus.Collector.
func (violationCounts) Describe(to chan<- *prometheus.Desc) { to <- violationsDesc }

// Collect implements prometheus.Collector. Rules whose objects have not all been judged yet are left out.
func (c violationCounts) Collect(to chan<- prometheus.Metric) {
	a := c.auditor
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.leading {
		return
	}
	for name, r := range a.rules {
		if !a.complete(r) {
			continue
		}
		for outcome, n := range map[string]int32{
			"violated": r.counts.violations, "excepted": r.counts.excepted, "failed": r.counts.failed,
		} {
			to <- prometheus.MustNewConstMetric(violationsDesc, prometheus.GaugeValue, float64(n), name, outcome)
		}
	}
}
