package translator

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestAuthoritiesThatComeKeepTheListener: CA certificates that come or go beside others change a secret, and not the
// listener, whose connections Envoy would drain.
func TestAuthoritiesThatComeKeepTheListener(t *testing.T) {
	pair := newPair("web.test")
	authority := func(name string) Object {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Data:       map[string]string{"ca.crt": string(pair["tls.crt"])},
		}
	}
	w := newWorld(t)
	for _, o := range decode(t, []byte(strings.TrimSpace(`
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: web}
spec:
  gatewayClassName: eg
  listeners: [{name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: web}]}}]
  tls:
    frontend:
      default:
        validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: old}, {group: "", kind: ConfigMap, name: new}]}
`))) {
		change(t, w, o, false)
	}
	change(t, w, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Type: corev1.SecretTypeTLS,
		Data: pair,
	}, false)
	if got := changedTypes(change(t, w, authority("old"), false)); !got["Listener"] {
		t.Fatalf("the first CA certificates change %v, want the listener among them", got)
	}
	for _, gone := range []bool{false, true} {
		if got := changedTypes(change(t, w, authority("new"), gone)); !got["Secret"] || got["Listener"] {
			t.Errorf("more CA certificates, gone: %t, change %v, want the secret and not the listener", gone, got)
		}
	}
}

// changedTypes are the types of resources that an outcome changes.
func changedTypes(o Outcome) map[string]bool {
	types := map[string]bool{}
	for _, d := range o.Deltas {
		for _, r := range d.Changed {
			types[r.Type[strings.LastIndexByte(r.Type, '.')+1:]] = true
		}
	}
	return types
}
