package controller

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatehouse/translator"
)

// TestCertificateMetrics: each certificate says when it expires, and one that cannot be read says only that.
func TestCertificateMetrics(t *testing.T) {
	list := []translator.Certificate{
		{
			Namespace: "shop", Name: "good", Issuer: "CN=team CA", NotBefore: time.Unix(1000, 0), NotAfter: time.Unix(5000, 0),
			Valid: true, ExpiresSoon: true,
		},
		{Namespace: "shop", Name: "broken", Issued: true, Pending: true},
	}
	own := translator.Certificate{
		Namespace: "gatehouse-system", Name: "gatehouse", Issuer: "CN=gatehouse CA", NotBefore: time.Unix(2000, 0),
		NotAfter: time.Unix(3000, 0),
	}
	c := &Certificates{
		List: func(context.Context) ([]translator.Certificate, error) { return list, nil },
		Own:  func() translator.Certificate { return own },
	}
	want := `# HELP gatehouse_certificate_expires_soon 1 if a certificate in use expires soon, which the status of the objects that use it says too, and otherwise 0.
# TYPE gatehouse_certificate_expires_soon gauge
gatehouse_certificate_expires_soon{namespace="gatehouse-system",secret="gatehouse"} 0
gatehouse_certificate_expires_soon{namespace="shop",secret="broken"} 0
gatehouse_certificate_expires_soon{namespace="shop",secret="good"} 1
# HELP gatehouse_certificate_expiry_timestamp_seconds When a certificate in use expires, by its Secret and by who issued it.
# TYPE gatehouse_certificate_expiry_timestamp_seconds gauge
gatehouse_certificate_expiry_timestamp_seconds{issuer="CN=gatehouse CA",namespace="gatehouse-system",secret="gatehouse"} 3000
gatehouse_certificate_expiry_timestamp_seconds{issuer="CN=team CA",namespace="shop",secret="good"} 5000
# HELP gatehouse_certificate_issuance_pending Whether cert-manager is issuing or renewing a certificate in use, has failed to, or is late: 1 or 0; only of those that it issues.
# TYPE gatehouse_certificate_issuance_pending gauge
gatehouse_certificate_issuance_pending{namespace="shop",secret="broken"} 1
# HELP gatehouse_certificate_valid Whether a certificate in use can be read and is valid now: 1 or 0.
# TYPE gatehouse_certificate_valid gauge
gatehouse_certificate_valid{namespace="gatehouse-system",secret="gatehouse"} 0
gatehouse_certificate_valid{namespace="shop",secret="broken"} 0
gatehouse_certificate_valid{namespace="shop",secret="good"} 1
# HELP gatehouse_certificate_valid_from_timestamp_seconds When a certificate in use began to be valid, which is about when it was issued.
# TYPE gatehouse_certificate_valid_from_timestamp_seconds gauge
gatehouse_certificate_valid_from_timestamp_seconds{namespace="gatehouse-system",secret="gatehouse"} 2000
gatehouse_certificate_valid_from_timestamp_seconds{namespace="shop",secret="good"} 1000
`
	registry, answer := prometheus.NewRegistry(), httptest.NewRecorder()
	registry.MustRegister(c)
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if diff := cmp.Diff(want, answer.Body.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
