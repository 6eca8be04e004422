package translator

import (
	"time"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/issuer"
)

// issued are annotations for cert-manager, as Gateways and ListenerSets have them.
func (h *history) issued() map[string]string {
	return pick(h,
		map[string]string{issuer.AnnotationIssuer: "i"}, map[string]string{issuer.AnnotationIssuer: "i"},
		map[string]string{issuer.AnnotationClusterIssuer: "i"},
		map[string]string{issuer.AnnotationIssuer: "i", cmv1.IssuerKindAnnotationKey: pick(h, "ClusterIssuer", "Other")},
		map[string]string{issuer.AnnotationIssuer: "i", cmv1.CertificateIgnoreTLSListeners: "l1"},
		map[string]string{acmev1.ACMECertificateHTTP01ParentRefFallback: "true"},
		map[string]string{ScopedRoutesAnnotation: "true", issuer.AnnotationIssuer: "i"})
}

func (h *history) issuerSpec() (spec cmv1.IssuerSpec) {
	if h.IntN(3) == 0 {
		spec.CA = &cmv1.CAIssuer{SecretName: "s"}
		return spec
	}
	spec.ACME = &acmev1.ACMEIssuer{}
	for range 1 + h.IntN(2) {
		solver := acmev1.ACMEChallengeSolver{}
		if h.IntN(3) == 0 {
			solver.DNS01 = &acmev1.ACMEChallengeSolverDNS01{}
		} else {
			solver.HTTP01 = &acmev1.ACMEChallengeSolverHTTP01{
				GatewayHTTPRoute: &acmev1.ACMEChallengeSolverHTTP01GatewayHTTPRoute{},
			}
			if h.IntN(3) == 0 {
				solver.HTTP01.GatewayHTTPRoute.ParentRefs = h.parents()
			}
		}
		if h.IntN(2) == 0 {
			solver.Selector = &acmev1.CertificateDNSNameSelector{DNSZones: []string{pick(h, "example.com", "a.example.com")}}
		}
		spec.ACME.Solvers = append(spec.ACME.Solvers, solver)
	}
	return spec
}

func (h *history) issuerObject() Object {
	status := cmv1.IssuerStatus{Conditions: []cmv1.IssuerCondition{{
		Type: cmv1.IssuerConditionReady, Status: pick(h, cmmeta.ConditionTrue, cmmeta.ConditionTrue, cmmeta.ConditionFalse),
	}}}
	if h.IntN(3) == 0 {
		return &cmv1.ClusterIssuer{ObjectMeta: h.meta("", "i"), Spec: h.issuerSpec(), Status: status}
	}
	return &cmv1.Issuer{ObjectMeta: h.meta(h.namespace(), "i"), Spec: h.issuerSpec(), Status: status}
}

// issuance is one of the objects that cert-manager makes for a Certificate. All have the same name.
func (h *history) issuance() Object {
	m := h.meta(h.namespace(), "s")
	owned := func(kind schema.GroupVersionKind) metav1.ObjectMeta {
		m.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Name: "s", UID: "s", Controller: new(h.IntN(4) > 0),
		}}
		return m
	}
	switch h.IntN(4) {
	case 0:
		c := &cmv1.Certificate{ObjectMeta: m, Spec: cmv1.CertificateSpec{SecretName: "s"}}
		c.Spec.IssuerRef = cmmeta.IssuerReference{Name: "i", Kind: pick(h, "", "ClusterIssuer")}
		c.Status.Conditions = []cmv1.CertificateCondition{{
			Type:   cmv1.CertificateConditionReady,
			Status: pick(h, cmmeta.ConditionTrue, cmmeta.ConditionFalse, cmmeta.ConditionFalse),
		}}
		if h.IntN(2) == 0 {
			c.Status.RenewalTime = new(metav1.NewTime(time.Now().Add(time.Duration(1-h.IntN(3)) * time.Hour)))
			c.Status.Conditions = append(c.Status.Conditions, cmv1.CertificateCondition{
				Type: cmv1.CertificateConditionIssuing, Status: pick(h, cmmeta.ConditionTrue, cmmeta.ConditionFalse),
			})
		}
		return c
	case 1:
		r := &cmv1.CertificateRequest{ObjectMeta: owned(cmv1.SchemeGroupVersion.WithKind(cmv1.CertificateKind))}
		r.Status.Conditions = []cmv1.CertificateRequestCondition{{
			Type: pick(h, cmv1.CertificateRequestConditionReady, cmv1.CertificateRequestConditionDenied), Status: cmmeta.ConditionTrue,
		}}
		return r
	case 2:
		o := &acmev1.Order{ObjectMeta: owned(cmv1.SchemeGroupVersion.WithKind(cmv1.CertificateRequestKind))}
		o.Status.State = pick(h, acmev1.Pending, acmev1.Valid, acmev1.Invalid)
		return o
	default:
		c := &acmev1.Challenge{ObjectMeta: owned(acmev1.SchemeGroupVersion.WithKind(acmev1.OrderKind))}
		c.UID = types.UID(pick(h, "s", "s", "other"))
		c.Spec = acmev1.ChallengeSpec{
			Type: acmev1.ACMEChallengeTypeHTTP01, DNSName: pick(h, "a.example.com", "b.example.com"), Token: challengeToken,
			Key: challengeToken + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
		}
		c.Status.State = pick(h, acmev1.Pending, acmev1.Valid)
		return c
	}
}

const challengeToken = "DGyRejmCefe7v4NfDGDKfA"

// solverRoute is a route for a challenge, which may be the right one.
func (h *history) solverRoute() Object {
	r := &gwapiv1.HTTPRoute{ObjectMeta: h.meta(h.namespace(), pick(h, "r1", "r2"))}
	r.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: acmev1.SchemeGroupVersion.String(), Kind: acmev1.ChallengeKind, Name: "s", UID: "s", Controller: new(true),
	}}
	r.Spec.ParentRefs = h.parents()
	r.Spec.Hostnames = []gwapiv1.Hostname{pick[gwapiv1.Hostname](h, "a.example.com", "b.example.com")}
	r.Spec.Rules = []gwapiv1.HTTPRouteRule{{Matches: []gwapiv1.HTTPRouteMatch{{Path: &gwapiv1.HTTPPathMatch{
		Type: ptr(gwapiv1.PathMatchExact), Value: ptr("/.well-known/acme-challenge/" + challengeToken),
	}}}}}
	return r
}
