package webhook

import (
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

// counts are the webhook's metrics. All kinds of others count as one, so that the number of series is fixed.
type counts struct {
	answers  *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newCounts(to prometheus.Registerer) *counts {
	c := &counts{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_admission_answers_total",
			Help: "Admission requests by webhook (validate, mutate), kind and answer (admitted, warned, denied, failed).",
		}, []string{"webhook", "kind", "answer"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gatehouse_admission_duration_seconds",
			Help:    "Time that admission requests took to answer, by webhook (validate, mutate).",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}, []string{"webhook"}),
	}
	if to != nil {
		to.MustRegister(c.answers, c.duration)
	}
	return c
}

func (c *counts) observe(webhook, kind string, answer outcome, start time.Time) {
	c.answers.WithLabelValues(webhook, kind, string(answer)).Inc()
	c.duration.WithLabelValues(webhook).Observe(time.Since(start).Seconds())
}
