package xds

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the server's metrics. Their only labels are types of resources, so that their number does not grow with
// proxies or Gateways.
type metrics struct {
	streams                     prometheus.Gauge
	denied                      prometheus.Counter
	responses, resources, bytes *prometheus.CounterVec
	acknowledged, rejected      *prometheus.CounterVec
	publishedToAcknowledged     *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "gatehouse", Subsystem: "xds", Name: name,
			Help: help,
		}, []string{"type"})
	}
	m := &metrics{
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "gatehouse", Subsystem: "xds", Name: "streams", Help: "Proxies' streams that are open.",
		}),
		denied: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "gatehouse", Subsystem: "xds", Name: "denied_total",
			Help: "Calls refused for lack of a valid token or of the right to a fleet.",
		}),
		responses:    counter("responses_total", "Responses sent to proxies."),
		resources:    counter("resources_total", "Resources sent to proxies, removals included."),
		bytes:        counter("bytes_total", "Bytes of encoded resources sent to proxies."),
		acknowledged: counter("acks_total", "Responses that a proxy acknowledged."),
		rejected:     counter("nacks_total", "Responses that a proxy rejected."),
		publishedToAcknowledged: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "gatehouse", Subsystem: "xds", Name: "publish_to_ack_seconds",
			Help:    "Time from a change being published to a proxy's acknowledgement of it.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}, []string{"type"}),
	}
	if r != nil {
		r.MustRegister(m.streams, m.denied, m.responses, m.resources, m.bytes, m.acknowledged, m.rejected,
			m.publishedToAcknowledged)
	}
	return m
}

func (m *metrics) send(r *response) {
	label := r.subscription.label()
	m.responses.WithLabelValues(label).Inc()
	m.resources.WithLabelValues(label).Add(float64(len(r.resources) + len(r.removed)))
	m.bytes.WithLabelValues(label).Add(float64(r.size()))
}

func (m *metrics) answer(r *response, rejected bool, now time.Time) {
	label := r.subscription.label()
	if rejected {
		m.rejected.WithLabelValues(label).Inc()
		return
	}
	m.acknowledged.WithLabelValues(label).Inc()
	if !r.since.IsZero() {
		m.publishedToAcknowledged.WithLabelValues(label).Observe(now.Sub(r.since).Seconds())
	}
}

// label is the last part of the type's name.
func (sub *subscription) label() string {
	return sub.url[strings.LastIndexByte(sub.url, '.')+1:]
}
