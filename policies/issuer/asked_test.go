package issuer

import (
	"strings"
	"testing"

	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

type annotations = map[string]string

// TestAskedBy reads annotations as the gateway-shim of cert-manager 1.21 does.
func TestAskedBy(t *testing.T) {
	for _, c := range []struct {
		given        annotations
		issuer, kind string
		wrong        string
	}{
		{annotations{}, "", "", ""},
		{annotations{"cert-manager.io/duration": "1h"}, "", "", ""},
		{annotations{AnnotationIssuer: "ca"}, "Issuer/shop/ca", "cert-manager.io", ""},
		{annotations{AnnotationClusterIssuer: "ca"}, "ClusterIssuer/ca", "cert-manager.io", ""},
		{annotations{AnnotationIssuer: "ca", annotationKind: "ClusterIssuer"}, "ClusterIssuer/ca", "cert-manager.io", ""},
		{annotations{AnnotationIssuer: "ca", annotationKind: "", annotationGroup: ""}, "Issuer/shop/ca", "cert-manager.io", ""},
		{annotations{AnnotationIssuer: "ca", annotationKind: "X", annotationGroup: "x.io"}, "X/shop/ca", "x.io", ""},
		{annotations{AnnotationIssuer: "ca", annotationKind: "X"}, "X/shop/ca", "cert-manager.io", "no kind of issuer"},
		{annotations{AnnotationIssuer: ""}, "Issuer/shop/", "cert-manager.io", "is empty"},
		{annotations{AnnotationIssuer: "a", AnnotationClusterIssuer: "b"}, "ClusterIssuer/b", "cert-manager.io", "exclude"},
		{annotations{AnnotationClusterIssuer: "b", annotationGroup: "x.io"}, "ClusterIssuer/b", "x.io", "exclude"},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/renew-before": "1w"}, "Issuer/shop/ca", "cert-manager.io", `"1w"`},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/revision-history-limit": "0"}, "Issuer/shop/ca", "cert-manager.io", "from 1 on"},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/private-key-algorithm": "rsa"}, "Issuer/shop/ca", "cert-manager.io", "RSA, ECDSA"},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/renew-before-percentage": "33%"}, "Issuer/shop/ca", "cert-manager.io", `"33%"`},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/usages": "server auth, digital signature"}, "Issuer/shop/ca", "cert-manager.io", ""},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/usages": "server"}, "Issuer/shop/ca", "cert-manager.io", "server auth"},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/private-key-size": "256"}, "Issuer/shop/ca", "cert-manager.io", "for RSA"},
		{annotations{
			AnnotationIssuer: "ca", "cert-manager.io/private-key-size": "256", "cert-manager.io/private-key-algorithm": "ECDSA",
		}, "Issuer/shop/ca", "cert-manager.io", ""},
		{annotations{
			AnnotationIssuer: "ca", "cert-manager.io/private-key-size": "2048", "cert-manager.io/private-key-algorithm": "ECDSA",
		}, "Issuer/shop/ca", "cert-manager.io", "521"},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/secret-template": `{"labels": {"a": "b"}}`}, "Issuer/shop/ca", "cert-manager.io", ""},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/secret-template": `{"label": {}}`}, "Issuer/shop/ca", "cert-manager.io", "JSON"},
		{annotations{
			AnnotationIssuer: "ca", "cert-manager.io/secret-template": `{"annotations": {"cert-manager.io/a": "b"}}`,
		}, "Issuer/shop/ca", "cert-manager.io", "no annotation"},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/subject-organizations": `Shop,"Bank, Ltd."`}, "Issuer/shop/ca", "cert-manager.io", ""},
		{annotations{AnnotationIssuer: "ca", "cert-manager.io/subject-localities": `a "b`}, "Issuer/shop/ca", "cert-manager.io", "one line"},
	} {
		asked := AskedBy("shop", c.given)
		if asked == nil {
			if c.issuer != "" {
				t.Errorf("%v: nothing is asked for", c.given)
			}
			continue
		}
		if asked.Issuer.String() != c.issuer || asked.Issuer.Group != c.kind || (asked.Wrong == "") != (c.wrong == "") ||
			!strings.Contains(asked.Wrong, c.wrong) {
			t.Errorf("%v: %v of %s, %q", c.given, asked.Issuer, asked.Issuer.Group, asked.Wrong)
		}
	}
}

// TestInherited: a ListenerSet has the issuer of its Gateway if it has none, and always its kind and group.
func TestInherited(t *testing.T) {
	for _, c := range []struct {
		own, gateway annotations
		want         string
	}{
		{nil, annotations{AnnotationIssuer: "g"}, "Issuer/team/g"},
		{annotations{AnnotationIssuer: "own"}, annotations{AnnotationClusterIssuer: "g"}, "Issuer/team/own"},
		{annotations{AnnotationIssuer: "own"}, annotations{AnnotationIssuer: "g", annotationKind: "ClusterIssuer"}, "ClusterIssuer/own"},
	} {
		if got := AskedBy("team", Inherited(c.own, c.gateway)); got == nil || got.Issuer.String() != c.want {
			t.Errorf("%v below %v: %v", c.own, c.gateway, got)
		}
	}
	own := annotations{}
	if Inherited(own, annotations{AnnotationIssuer: "g"}); len(own) > 0 {
		t.Errorf("the annotations of the ListenerSet became %v", own)
	}
}

func TestIgnores(t *testing.T) {
	asked := AskedBy("shop", annotations{AnnotationIssuer: "ca", annotationIgnored: "a, b,"})
	for name, want := range map[string]string{"a": annotationIgnored, "b": annotationIgnored, "": "no hostname", "c": ""} {
		l := &gwapiv1.Listener{Name: gwapiv1.SectionName(name), Hostname: new(gwapiv1.Hostname("a.example.com"))}
		if name == "" {
			l.Hostname = nil
		}
		if got := asked.Ignores(l); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("listener %q: %q", name, got)
		}
	}
}
