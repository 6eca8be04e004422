package translator

import (
	"fmt"
	"time"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"gatehouse/policies/issuer"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// declareIssuances: what cert-manager does for the Secrets that somebody uses. A Certificate has a CertificateRequest
// for each try, and with an ACME issuer this has an Order, and that a Challenge for each host.
func (t *Tables) declareIssuances(used *flow.Table[bool]) {
	t.certificatesBySecret = flow.NewIndex(t.in.certificates, "Certificates by Secret",
		func(_ string, c *cmv1.Certificate) []string { return []string{Key(c.Namespace, c.Spec.SecretName)} })
	t.requestsByCertificate = flow.NewIndex(t.in.requests, "CertificateRequests by Certificate",
		madeFor[*cmv1.CertificateRequest](cmv1.SchemeGroupVersion.WithKind(cmv1.CertificateKind)))
	t.ordersByRequest = flow.NewIndex(t.in.orders, "Orders by CertificateRequest",
		madeFor[*acmev1.Order](cmv1.SchemeGroupVersion.WithKind(cmv1.CertificateRequestKind)))
	t.challengesByOrder = flow.NewIndex(t.in.challenges, "Challenges by Order",
		madeFor[*acmev1.Challenge](acmev1.SchemeGroupVersion.WithKind(acmev1.OrderKind)))
	t.issuances = flow.Derive(used, "issuances", flow.Same[issuanceRow], t.issuance)
}

// madeFor indexes objects by the objects for which cert-manager made them.
func madeFor[T Object](owner schema.GroupVersionKind) func(string, T) []string {
	return func(_ string, o T) []string {
		if name := issuer.MadeFor(o, owner); name != "" {
			return []string{Key(o.GetNamespace(), name)}
		}
		return nil
	}
}

// issuanceRow is a Certificate that makes cert-manager write a Secret.
type issuanceRow struct {
	// Certificate is the name of the Certificate, in the namespace of the Secret.
	Certificate string
	Issuer      verdict.Ref
	// Issued reports whether the Secret has what the Certificate asks for, and Due is when it is renewed, zero if
	// cert-manager does not say.
	Issued bool
	Due    time.Time
	// Waits says what the Certificate waits for, or why it failed; empty if it is issued and is not being renewed.
	Waits string
}

// String is the row in a text that fits behind "cert-manager issues it ".
func (i issuanceRow) String() string {
	by := fmt.Sprintf("from Certificate %q by %s", i.Certificate, issuer.Name(i.Issuer))
	if i.Waits == "" {
		return by
	}
	return by + ", and " + i.Waits
}

// issuance finds the Certificate of a Secret. If there are several, none of them works, and the first one says so.
func (t *Tables) issuance(r *flow.Read, secret string, _ bool) (issuanceRow, bool) {
	all := t.certificatesBySecret.Lookup(r, secret)
	if len(all) == 0 {
		return issuanceRow{}, false
	}
	c := all[0].Value
	row := issuanceRow{
		Certificate: c.Name, Issuer: issuer.RefOf(c.Namespace, c.Spec.IssuerRef), Issued: issuer.Issued(c),
	}
	if due := c.Status.RenewalTime; due != nil {
		row.Due = due.UTC()
	}
	if !row.Issued || issuer.Issuing(c) {
		row.Waits = t.waits(r, c, row.Issuer)
	}
	return row, true
}

// waits says what a Certificate waits for: the last of the objects made for it that is not finished knows best. Without
// its issuer nothing happens.
func (t *Tables) waits(r *flow.Read, c *cmv1.Certificate, by verdict.Ref) string {
	if words := t.unissuing(r, by); words != "" {
		return words
	}
	words := issuer.Unfinished(c)
	request := issuer.Newest(valuesOf(t.requestsByCertificate.Lookup(r, keyOf(c))))
	if request == nil {
		return words
	}
	if of := issuer.Unfinished(request); of != "" {
		words = of
	}
	for _, order := range t.ordersByRequest.Lookup(r, keyOf(request)) {
		if of := issuer.Unfinished(order.Value); of != "" {
			words = of
		}
		for _, challenge := range t.challengesByOrder.Lookup(r, keyOf(order.Value)) {
			if of := issuer.Unfinished(challenge.Value); of != "" {
				return of
			}
		}
	}
	return words
}

func valuesOf[T any](rows []flow.Row[T]) []T {
	return convert(rows, func(row flow.Row[T]) T { return row.Value })
}

// issuerOf is what an issuer of cert-manager is; nil if it does not exist. Issuers of other groups are not known.
func (t *Tables) issuerOf(r *flow.Read, ref verdict.Ref) (spec *cmv1.IssuerSpec, status *cmv1.IssuerStatus, known bool) {
	if ref.Group != cmv1.SchemeGroupVersion.Group {
		return nil, nil, false
	}
	switch ref.Kind {
	case cmv1.IssuerKind:
		if i, ok := t.in.issuers.Get(r, Key(ref.Namespace, ref.Name)); ok {
			return &i.Spec, &i.Status, true
		}
	case cmv1.ClusterIssuerKind:
		if i, ok := t.in.clusterIssuers.Get(r, ref.Name); ok {
			return &i.Spec, &i.Status, true
		}
	}
	return nil, nil, true
}

// unissuing says why an issuer issues nothing; empty if it does, or is not known.
func (t *Tables) unissuing(r *flow.Read, ref verdict.Ref) string {
	spec, status, known := t.issuerOf(r, ref)
	switch {
	case !known:
		return ""
	case spec == nil:
		return issuer.Name(ref) + " does not exist: create it, or correct the name"
	}
	if words := issuer.Unready(status); words != "" {
		return issuer.Name(ref) + " " + words
	}
	return ""
}
