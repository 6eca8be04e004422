package manifests

import (
	"slices"
	"strings"
	"testing"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"

	"gatehouse/infra/certs"
)

// certified is what a rendering says about the certificate of the control plane.
type certified struct {
	certificates map[string]*cmv1.Certificate
	issuers      map[string]*cmv1.Issuer
	// injectors are the annotations of the webhook configurations for cainjector, and args are those of the control plane.
	injectors, args []string
}

func certifiedBy(t *testing.T, values ...string) certified {
	t.Helper()
	c := certified{certificates: map[string]*cmv1.Certificate{}, issuers: map[string]*cmv1.Issuer{}}
	for _, obj := range decode(t, helmTemplate(t, "gatehouse", values...)) {
		switch obj := obj.(type) {
		case *cmv1.Certificate:
			c.certificates[obj.Name] = obj
		case *cmv1.Issuer:
			c.issuers[obj.Name] = obj
		case *appsv1.Deployment:
			c.args = obj.Spec.Template.Spec.Containers[0].Args
		case *admissionv1.ValidatingWebhookConfiguration:
			c.injectors = append(c.injectors, obj.Annotations["cert-manager.io/inject-ca-from-secret"])
		case *admissionv1.MutatingWebhookConfiguration:
			c.injectors = append(c.injectors, obj.Annotations["cert-manager.io/inject-ca-from-secret"])
		}
	}
	return c
}

// TestCertificateOfTheControlPlane: by default nothing of cert-manager is in the chart. Otherwise the Certificate fills the
// Secret that the control plane reads, for all names of its Service, from the issuer of the values or from a CA of its own.
func TestCertificateOfTheControlPlane(t *testing.T) {
	c := certifiedBy(t)
	if len(c.certificates)+len(c.issuers) > 0 || strings.Contains(strings.Join(c.args, " "), "--certificate-from") ||
		!slices.Equal(c.injectors, []string{"", ""}) {
		t.Errorf("by default: %d certificates, %d issuers, %q, %q", len(c.certificates), len(c.issuers), c.args, c.injectors)
	}

	c = certifiedBy(t, "--set=certManager.enabled=true")
	own := c.certificates["gatehouse"]
	if own == nil || !slices.Contains(c.args, "--certificate-from="+own.Spec.SecretName) ||
		slices.Contains(c.args, "--webhook-ca-injection=false") {
		t.Fatalf("the control plane is started with %q", c.args)
	}
	if want := certs.ServiceNames("gatehouse", own.Namespace, "cluster.local"); !slices.Equal(own.Spec.DNSNames, want) {
		t.Errorf("the certificate is for %q, want %q", own.Spec.DNSNames, want)
	}
	ca := c.issuers[own.Spec.IssuerRef.Name]
	if ca == nil || c.certificates["gatehouse-ca"] == nil || ca.Spec.CA == nil ||
		ca.Spec.CA.SecretName != c.certificates["gatehouse-ca"].Spec.SecretName {
		t.Errorf("the certificate is from %+v", own.Spec.IssuerRef)
	}

	c = certifiedBy(t, "--set=certManager.enabled=true,certManager.caInjection=cainjector",
		"--set=certManager.issuerRef.name=platform,certManager.issuerRef.kind=ClusterIssuer")
	own = c.certificates["gatehouse"]
	if len(c.issuers) > 0 || own.Spec.IssuerRef.Name != "platform" || own.Spec.IssuerRef.Kind != "ClusterIssuer" {
		t.Errorf("%d issuers are made beside %+v", len(c.issuers), own.Spec.IssuerRef)
	}
	secret := own.Namespace + "/" + certs.DefaultSecret
	if !slices.Contains(c.args, "--webhook-ca-injection=false") || !slices.Equal(c.injectors, []string{secret, secret}) {
		t.Errorf("cainjector is to read %q, and the control plane is started with %q", c.injectors, c.args)
	}
}
