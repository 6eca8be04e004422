package kube

import (
	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// onlyIssuance keeps of an object of cert-manager what says whose certificate it is about and what it waits for. Requests,
// certificates, templates of pods and the access to DNS servers are not held. It returns nil for other objects.
func onlyIssuance(o any) client.Object {
	switch o := o.(type) {
	case *cmv1.Certificate:
		return &cmv1.Certificate{
			ObjectMeta: related(o), Spec: cmv1.CertificateSpec{SecretName: o.Spec.SecretName, IssuerRef: o.Spec.IssuerRef},
			Status: cmv1.CertificateStatus{Conditions: o.Status.Conditions, RenewalTime: o.Status.RenewalTime},
		}
	case *cmv1.CertificateRequest:
		return &cmv1.CertificateRequest{
			ObjectMeta: related(o, cmv1.CertificateRequestRevisionAnnotationKey),
			Status:     cmv1.CertificateRequestStatus{Conditions: o.Status.Conditions},
		}
	case *acmev1.Order:
		return &acmev1.Order{
			ObjectMeta: related(o),
			Status:     acmev1.OrderStatus{State: o.Status.State, Reason: o.Status.Reason},
		}
	case *acmev1.Challenge:
		return &acmev1.Challenge{
			ObjectMeta: related(o),
			Spec: acmev1.ChallengeSpec{
				Type: o.Spec.Type, DNSName: o.Spec.DNSName, Token: o.Spec.Token, Key: o.Spec.Key,
			},
			Status: acmev1.ChallengeStatus{State: o.Status.State, Reason: o.Status.Reason},
		}
	case *cmv1.Issuer:
		return &cmv1.Issuer{
			ObjectMeta: related(o), Spec: onlyIssuer(&o.Spec), Status: cmv1.IssuerStatus{Conditions: o.Status.Conditions},
		}
	case *cmv1.ClusterIssuer:
		return &cmv1.ClusterIssuer{
			ObjectMeta: related(o), Spec: onlyIssuer(&o.Spec), Status: cmv1.IssuerStatus{Conditions: o.Status.Conditions},
		}
	}
	return nil
}

// related is the metadata of an object that others of cert-manager are found by.
func related(o client.Object, annotations ...string) metav1.ObjectMeta {
	kept := identity(o)
	kept.Generation, kept.DeletionTimestamp, kept.OwnerReferences = o.GetGeneration(), o.GetDeletionTimestamp(), o.GetOwnerReferences()
	for _, key := range annotations {
		if value, ok := o.GetAnnotations()[key]; ok {
			kept.Annotations = map[string]string{key: value}
		}
	}
	return kept
}

// onlyIssuer keeps what decides for which hosts an issuer can issue, and where challenges come in.
func onlyIssuer(s *cmv1.IssuerSpec) (kept cmv1.IssuerSpec) {
	if s.CA != nil {
		kept.CA = &cmv1.CAIssuer{SecretName: s.CA.SecretName}
	}
	if s.ACME == nil {
		return kept
	}
	kept.ACME = &acmev1.ACMEIssuer{}
	for _, solver := range s.ACME.Solvers {
		only := acmev1.ACMEChallengeSolver{Selector: solver.Selector}
		if solver.DNS01 != nil {
			only.DNS01 = &acmev1.ACMEChallengeSolverDNS01{}
		}
		if http := solver.HTTP01; http != nil {
			only.HTTP01 = &acmev1.ACMEChallengeSolverHTTP01{}
			if http.GatewayHTTPRoute != nil {
				only.HTTP01.GatewayHTTPRoute = &acmev1.ACMEChallengeSolverHTTP01GatewayHTTPRoute{
					ParentRefs: http.GatewayHTTPRoute.ParentRefs,
				}
			}
		}
		kept.ACME.Solvers = append(kept.ACME.Solvers, only)
	}
	return kept
}
