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
	soonDesc = certificateDesc("expires_soon",
		"1 if a certificate in use expires soon, which the status of the objects that use it says too, and otherwise 0.")
	pendingDesc = certificateDesc("issuance_pending",
		"Whether cert-manager is issuing or renewing a certificate in use, has failed to, or is late: 1 or 0; only of those that it issues.")
)

func certificateDesc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("gatehouse_certificate_"+name, help, append([]string{"namespace", "secret"}, more...), nil)
}

// Describe implements prometheus.Collector.
func (*Certificates) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{expiryDesc, issuedDesc, validDesc, soonDesc, pendingDesc} {
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
		flag := func(desc *prometheus.Desc, is bool) {
			value := 0.0
			if is {
				value = 1
			}
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, cert.Namespace, cert.Name)
		}
		flag(validDesc, cert.Valid)
		flag(soonDesc, cert.ExpiresSoon)
		if cert.Issued {
			flag(pendingDesc, cert.Pending)
		}
		if cert.NotAfter.IsZero() {
			continue
		}
		to <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(cert.NotAfter.Unix()), cert.Namespace,
			cert.Name, cert.Issuer)
		to <- prometheus.MustNewConstMetric(issuedDesc, prometheus.GaugeValue, float64(cert.NotBefore.Unix()), cert.Namespace,
			cert.Name)
	}
}
