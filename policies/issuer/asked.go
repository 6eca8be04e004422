// Package issuer says what annotations of Gateways and ListenerSets ask cert-manager for, what its issuers cannot issue,
// and what it waits for. All functions depend on objects of cert-manager only, as they are stored.
package issuer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	"github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// The annotations that name an issuer, as cert-manager reads them for Gateways and ListenerSets.
const (
	AnnotationIssuer        = cmv1.IngressIssuerNameAnnotationKey
	AnnotationClusterIssuer = cmv1.IngressClusterIssuerNameAnnotationKey
	annotationKind          = cmv1.IssuerKindAnnotationKey
	annotationGroup         = cmv1.IssuerGroupAnnotationKey

	// annotationIgnored lists listeners for which nothing is issued.
	annotationIgnored = cmv1.CertificateIgnoreTLSListeners
)

// Asked is what the annotations of a Gateway or of a ListenerSet ask cert-manager for.
type Asked struct {
	// Issuer is the issuer. It has a namespace unless it is a ClusterIssuer.
	Issuer verdict.Ref
	// Wrong says what is wrong with the annotations, so that cert-manager issues nothing; empty if nothing is.
	Wrong string
	// ViaGateway reports whether challenges of a ListenerSet come to listeners of its Gateway.
	ViaGateway bool

	ignored []string
}

// AskedBy reads the annotations of an object in a namespace. It returns nil if they name no issuer.
func AskedBy(namespace string, annotations map[string]string) *Asked {
	issuer, isIssuer := annotations[AnnotationIssuer]
	cluster, isCluster := annotations[AnnotationClusterIssuer]
	if !isIssuer && !isCluster {
		return nil
	}
	viaGateway, _ := strconv.ParseBool(annotations[acmev1.ACMECertificateHTTP01ParentRefFallback])
	a := &Asked{
		ViaGateway: viaGateway,
		ignored:    listed(annotations[annotationIgnored]),
		Issuer:     verdict.Ref{Group: certmanager.GroupName, Kind: cmv1.IssuerKind, Namespace: namespace, Name: issuer},
	}
	if isCluster {
		a.Issuer = verdict.Ref{Group: certmanager.GroupName, Kind: cmv1.ClusterIssuerKind, Name: cluster}
	}
	a.Issuer.Kind = cmp.Or(annotations[annotationKind], a.Issuer.Kind)
	a.Issuer.Group = cmp.Or(annotations[annotationGroup], a.Issuer.Group)
	if a.Issuer.Kind == cmv1.ClusterIssuerKind && a.Own() {
		a.Issuer.Namespace = ""
	}
	a.Wrong = a.wrong(annotations)
	return a
}

// wrong says why cert-manager issues nothing by these annotations.
func (a *Asked) wrong(annotations map[string]string) string {
	has := func(key string) bool { _, given := annotations[key]; return given }
	for _, other := range []string{AnnotationIssuer, annotationKind, annotationGroup} {
		if has(AnnotationClusterIssuer) && has(other) {
			return fmt.Sprintf("annotations %s and %s exclude each other: remove one of them", AnnotationClusterIssuer, other)
		}
	}
	switch {
	case a.Issuer.Name == "":
		return "the annotation for the issuer is empty: name an issuer of cert-manager"
	case a.Own() && a.Issuer.Kind != cmv1.IssuerKind && a.Issuer.Kind != cmv1.ClusterIssuerKind:
		return fmt.Sprintf("%q in annotation %s is no kind of issuer in group %s: use Issuer or ClusterIssuer, or name another group in annotation %s",
			a.Issuer.Kind, annotationKind, certmanager.GroupName, annotationGroup)
	}
	return wrongSetting(annotations)
}

// Inherited are the annotations of a ListenerSet as cert-manager reads them: those of its Gateway name the issuer if its
// own do not, and always its kind and group.
func Inherited(own, gateway map[string]string) map[string]string {
	annotations := maps.Clone(own)
	if annotations == nil {
		annotations = map[string]string{}
	}
	inherit := []string{annotationKind, annotationGroup}
	if AskedBy("", own) == nil {
		inherit = append(inherit, AnnotationIssuer, AnnotationClusterIssuer)
	}
	for _, key := range inherit {
		if value, ok := gateway[key]; ok {
			annotations[key] = value
		}
	}
	return annotations
}

// Own reports whether the issuer is one of cert-manager itself. Others are not known.
func (a *Asked) Own() bool { return a.Issuer.Group == certmanager.GroupName }

// Ignores says why cert-manager issues nothing for a listener, whose annotations are in order; empty if it does.
func (a *Asked) Ignores(l *gwapiv1.Listener) string {
	switch {
	case slices.Contains(a.ignored, string(l.Name)):
		return fmt.Sprintf("annotation %s names the listener: remove it there, or create the Secret", annotationIgnored)
	case l.Hostname == nil || *l.Hostname == "":
		return "the listener has no hostname: give it one, or create the Secret"
	}
	return ""
}

// listed are the parts of a list with commas.
func listed(list string) (parts []string) {
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
