package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
)

// outcome is how a request was answered, for the metrics.
type outcome string

const (
	admitted outcome = "admitted"
	warned   outcome = "warned"
	denied   outcome = "denied"
	failed   outcome = "failed"
	// overruled is a denial that the annotation BreakGlassAnnotation overruled.
	overruled outcome = "overruled"
)

func outcomeOf(r *admissionv1.AdmissionResponse) outcome {
	switch {
	case !r.Allowed:
		return denied
	case len(r.Warnings) > 0:
		return warned
	}
	return admitted
}

// lateError is the error of a request whose time, which is this long, is over.
type lateError struct{ limit time.Duration }

func (e lateError) Error() string { return fmt.Sprintf("no answer within %s", e.limit) }

// causes are why a request got no verdict, for the metrics; the first that matches counts. Anything else is an error.
var causes = []struct {
	name    string
	matches func(error) bool
}{
	{"client", func(err error) bool { return errors.As(err, &strangerError{}) }},
	{"unreadable", func(err error) bool { return errors.As(err, &unreadError{}) }},
	{"busy", func(err error) bool { return errors.Is(err, errCrowded) }},
	{"gone", func(err error) bool { return errors.Is(err, context.Canceled) }},
	{"deadline", func(err error) bool { return errors.As(err, &lateError{}) || errors.Is(err, context.DeadlineExceeded) }},
}

func causeOf(err error) string {
	for _, c := range causes {
		if c.matches(err) {
			return c.name
		}
	}
	return "error"
}

// counts are the webhook's metrics. All kinds of others count as one, and reasons are those of the code, so that the
// number of series is fixed.
type counts struct {
	answers, unjudged, problems, warnings, pleas *prometheus.CounterVec
	duration, size                               *prometheus.HistogramVec
}

func newCounts(to prometheus.Registerer) *counts {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	c := &counts{
		answers: counter("gatehouse_admission_answers_total",
			"Admission requests by webhook (validate, mutate, inject-pod-topology), kind and answer (admitted, warned, denied, failed).",
			"webhook", "kind", "answer"),
		unjudged: counter("gatehouse_admission_unjudged_total",
			"Admission requests without a verdict by webhook (validate, mutate, inject-pod-topology) and cause (deadline, busy, gone, unreadable, client, error).",
			"webhook", "cause"),
		problems: counter("gatehouse_admission_problems_total",
			"Problems that changes would have added, by reason and answer (denied, warned, overruled); not those of dry runs.",
			"reason", "answer"),
		warnings: counter("gatehouse_admission_warnings_total",
			"Warnings that users got by webhook (validate, mutate, inject-pod-topology), those of rules and of the mutation included.",
			"webhook"),
		pleas: counter("gatehouse_admission_break_glass_total",
			"Changes of objects with the annotation "+BreakGlassAnnotation+" by result (overruled, unneeded, refused); not dry runs.",
			"result"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gatehouse_admission_duration_seconds",
			Help:    "Time that admission requests took to answer, by webhook (validate, mutate, inject-pod-topology).",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}, []string{"webhook"}),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gatehouse_admission_request_bytes",
			Help:    "Size of admission requests that were read completely, by webhook (validate, mutate, inject-pod-topology).",
			Buckets: prometheus.ExponentialBuckets(1<<10, 4, 7), // Up to 4 MiB; the largest request has 7.
		}, []string{"webhook"}),
	}
	if to != nil {
		to.MustRegister(c.answers, c.unjudged, c.problems, c.warnings, c.pleas, c.duration, c.size)
	}
	return c
}

func (c *counts) observe(webhook, kind string, answer outcome, start time.Time) {
	c.answers.WithLabelValues(webhook, kind, string(answer)).Inc()
	c.duration.WithLabelValues(webhook).Observe(time.Since(start).Seconds())
}

// fail counts a request that gets no verdict.
func (c *counts) fail(webhook, kind string, err error, start time.Time) {
	c.observe(webhook, kind, failed, start)
	c.unjudged.WithLabelValues(webhook, causeOf(err)).Inc()
}

// dry reports whether a request is a dry run. It is judged like any other, and nothing is remembered or told of it but
// what measures the work of the webhook.
func dry(request *admissionv1.AdmissionRequest) bool { return request.DryRun != nil && *request.DryRun }

// judged counts the problems of a change that is about to be answered at a level.
func (c *counts) judged(request *admissionv1.AdmissionRequest, level Level, lines []line) {
	if dry(request) {
		return
	}
	for _, l := range lines {
		answer := warned
		switch {
		case level.denies(l):
			answer = denied
		case l.overruled:
			answer = overruled
		}
		c.problems.WithLabelValues(l.reason, string(answer)).Inc()
	}
}

// broke counts a change of an object with the annotation BreakGlassAnnotation.
func (c *counts) broke(p *plea) {
	result := "unneeded"
	switch {
	case p.refused != "":
		result = "refused"
	case len(p.overruled) > 0:
		result = "overruled"
	}
	c.pleas.WithLabelValues(result).Inc()
}

// NewTrialSize returns a histogram of the sizes of trials: how many rows of the tables a change made the translation
// compute.
func NewTrialSize(to prometheus.Registerer) (observe func(rows int)) {
	rows := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "gatehouse_admission_trial_rows",
		Help:    "Rows of the tables that the trial of a change or a deletion computed.",
		Buckets: prometheus.ExponentialBuckets(4, 4, 9), // Up to 262,144.
	})
	to.MustRegister(rows)
	return func(n int) { rows.Observe(float64(n)) }
}
