package issuer

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/policies/verdict"
)

// RefOf is the issuer that an object of cert-manager in a namespace refers to. Kind and group have cert-manager's
// defaults.
func RefOf(namespace string, ref cmmeta.IssuerReference) verdict.Ref {
	issuer := verdict.Ref{
		Group: cmp.Or(ref.Group, cmv1.SchemeGroupVersion.Group), Kind: cmp.Or(ref.Kind, cmv1.IssuerKind),
		Namespace: namespace, Name: ref.Name,
	}
	if issuer.Kind == cmv1.ClusterIssuerKind {
		issuer.Namespace = ""
	}
	return issuer
}

// Name names an issuer in messages. Those of other groups than cert-manager's have it behind their kind.
func Name(ref verdict.Ref) string {
	if ref.Group != cmv1.SchemeGroupVersion.Group {
		return fmt.Sprintf("%s.%s %q", ref.Kind, ref.Group, ref.Name)
	}
	return fmt.Sprintf("%s %q", ref.Kind, ref.Name)
}

// Issued reports whether cert-manager says that the Secret of a Certificate is what it should be.
func Issued(c *cmv1.Certificate) bool {
	ready := conditionOf(c, cmv1.CertificateConditionReady)
	return ready != nil && ready.Status == cmmeta.ConditionTrue
}

// Issuing reports whether cert-manager tries to issue a certificate, for the first time or again, or has failed.
func Issuing(c *cmv1.Certificate) bool {
	issuing := conditionOf(c, cmv1.CertificateConditionIssuing)
	return issuing != nil && (issuing.Status != cmmeta.ConditionFalse || issuing.Reason != reasonIssued)
}

// reasonIssued is the reason of a condition Issuing that is False because the certificate was issued. Whether
// cert-manager removes the condition instead is a setting of it.
const reasonIssued = "Issued"

// Unready says why an issuer does not issue, in a text that fits behind its name; empty if it does, or if cert-manager
// has not said anything yet.
func Unready(s *cmv1.IssuerStatus) string {
	for _, c := range s.Conditions {
		if c.Type == cmv1.IssuerConditionReady && c.Status != cmmeta.ConditionTrue {
			return "is not ready: " + said(c.Message, c.Reason)
		}
	}
	return ""
}

// Unfinished says what one of the objects that cert-manager makes for a Certificate waits for, or why it failed. It is
// empty if the object is finished.
func Unfinished(o metav1.Object) string {
	var state string
	switch o := o.(type) {
	case *cmv1.Certificate:
		state = ofCertificate(o)
	case *cmv1.CertificateRequest:
		state = ofRequest(o)
	case *acmev1.Order:
		state = ofState(o.Status.State, o.Status.Reason)
	case *acmev1.Challenge:
		if state = ofState(o.Status.State, o.Status.Reason); state != "" {
			return fmt.Sprintf("%s challenge for %q %s", o.Spec.Type, o.Spec.DNSName, state)
		}
	}
	if state == "" {
		return ""
	}
	return fmt.Sprintf("%s %q %s", kindOf(o), o.GetName(), state)
}

func kindOf(o metav1.Object) string {
	switch o.(type) {
	case *cmv1.CertificateRequest:
		return cmv1.CertificateRequestKind
	case *acmev1.Order:
		return acmev1.OrderKind
	}
	return cmv1.CertificateKind
}

func ofCertificate(c *cmv1.Certificate) string {
	ready, issuing := conditionOf(c, cmv1.CertificateConditionReady), conditionOf(c, cmv1.CertificateConditionIssuing)
	switch {
	case Issued(c) && !Issuing(c):
		return ""
	case issuing != nil && issuing.Status == cmmeta.ConditionFalse:
		return "failed: " + said(issuing.Message, issuing.Reason)
	case issuing != nil:
		return "is being issued: " + said(issuing.Message, issuing.Reason)
	case ready != nil:
		return "is not ready: " + said(ready.Message, ready.Reason)
	}
	return "has no status yet: see whether cert-manager runs"
}

func conditionOf(c *cmv1.Certificate, kind cmv1.CertificateConditionType) *cmv1.CertificateCondition {
	for i := range c.Status.Conditions {
		if c.Status.Conditions[i].Type == kind {
			return &c.Status.Conditions[i]
		}
	}
	return nil
}

func ofRequest(r *cmv1.CertificateRequest) string {
	found := map[cmv1.CertificateRequestConditionType]cmv1.CertificateRequestCondition{}
	for _, c := range r.Status.Conditions {
		found[c.Type] = c
	}
	is := func(kind cmv1.CertificateRequestConditionType) bool {
		return found[kind].Status == cmmeta.ConditionTrue
	}
	ready := found[cmv1.CertificateRequestConditionReady]
	switch {
	case is(cmv1.CertificateRequestConditionReady):
		return ""
	case is(cmv1.CertificateRequestConditionDenied):
		c := found[cmv1.CertificateRequestConditionDenied]
		return "was denied: " + said(c.Message, c.Reason)
	case is(cmv1.CertificateRequestConditionInvalidRequest):
		c := found[cmv1.CertificateRequestConditionInvalidRequest]
		return "is not valid: " + said(c.Message, c.Reason)
	case ready.Reason == cmv1.CertificateRequestReasonFailed:
		return "failed: " + said(ready.Message, ready.Reason)
	case !is(cmv1.CertificateRequestConditionApproved):
		return "waits for its approval"
	case ready.Type == "":
		return "waits for the issuer"
	}
	return "waits: " + said(ready.Message, ready.Reason)
}

// ofState is what the state of an Order or of a Challenge comes to.
func ofState(state acmev1.State, reason string) string {
	switch state {
	case acmev1.Valid:
		return ""
	case acmev1.Invalid, acmev1.Expired, acmev1.Errored:
		return fmt.Sprintf("is %s: %s", state, said(reason, "the ACME server gave no reason"))
	}
	if reason == "" {
		return "is not finished"
	}
	return "waits: " + said(reason)
}

// longest is how much is repeated of what cert-manager says, in runes. It may contain what a server answers.
const longest = 300

// said is the first text that is not empty, as a part of a line.
func said(texts ...string) string {
	line := strings.TrimRight(strings.Join(strings.Fields(cmp.Or(texts...)), " "), ".")
	if runes := []rune(line); len(runes) > longest {
		return string(runes[:longest]) + "..."
	}
	return line
}

// MadeFor is the name of the object that owns another one, which cert-manager made for it; empty if none of the kind
// does. UIDs are not compared, because names of what cert-manager makes are not used again.
func MadeFor(o metav1.Object, owner schema.GroupVersionKind) string {
	c := metav1.GetControllerOfNoCopy(o)
	if c == nil || c.Kind != owner.Kind {
		return ""
	}
	if gv, err := schema.ParseGroupVersion(c.APIVersion); err != nil || gv.Group != owner.Group {
		return ""
	}
	return c.Name
}

// Newest is the last CertificateRequest of a Certificate; nil if there is none.
func Newest(requests []*cmv1.CertificateRequest) *cmv1.CertificateRequest {
	if len(requests) == 0 {
		return nil
	}
	return slices.MaxFunc(requests, func(a, b *cmv1.CertificateRequest) int {
		return cmp.Or(cmp.Compare(revision(a), revision(b)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

func revision(r *cmv1.CertificateRequest) int {
	n, _ := strconv.Atoi(r.Annotations[cmv1.CertificateRequestRevisionAnnotationKey]) // Without one it is the oldest.
	return n
}
