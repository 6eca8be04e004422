package controller

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gatehouse/translator"
)

// Certificates are the metrics of the certificates in use. They are read when metrics are read.
type Certificates struct {
	// List lists the certificates of Secrets, and Own is that of the control plane.
	List func(ctx context.Context) ([]translator.Certificate, error)
	Own  func() translator.Certificate
}

var (
	expiryDesc = certificateDesc("expiry_timestamp_seconds",
		"When a certificate in use expires, by its Secret and by who issued it.", "issuer")
	issuedDesc = certificateDesc("valid_from_timestamp_seconds",
		"When a certificate in use began to be valid, which is about when it was issued.")
	validDesc = certificateDesc("valid",
		"Whether a certificate in use can be read and is valid now: 1 or 0.")
)

func certificateDesc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("gatehouse_certificate_"+name, help, append([]string{"namespace", "secret"}, more...), nil)
}

// Describe implements prometheus.Collector.
func (*Certificates) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{expiryDesc, issuedDesc, validDesc} {
		to <- desc
	}
}

// listTime is how long metrics wait for the tables.
const listTime = 5 * time.Second

// Collect implements prometheus.Collector.
func (c *Certificates) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), listTime)
	defer cancel()
	all, err := c.List(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(validDesc, err)
	}
	for _, cert := range append(all, c.Own()) {
		valid := 0.0
		if cert.Valid {
			valid = 1
		}
		to <- prometheus.MustNewConstMetric(validDesc, prometheus.GaugeValue, valid, cert.Namespace, cert.Name)
		if cert.NotAfter.IsZero() {
			continue
		}
		to <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(cert.NotAfter.Unix()), cert.Namespace,
			cert.Name, cert.Issuer)
		to <- prometheus.MustNewConstMetric(issuedDesc, prometheus.GaugeValue, float64(cert.NotBefore.Unix()), cert.Namespace,
			cert.Name)
	}
}
