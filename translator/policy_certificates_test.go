package translator

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
)

// presenting is a feature of the test: BackendTrafficPolicies of team a need a certificate.
var presenting = feature.Feature[v1alpha1.BackendTrafficPolicy]{
	Needs: func(p *v1alpha1.BackendTrafficPolicy) []feature.Need {
		if p.Labels["team"] != "a" {
			return nil
		}
		ref := &gwapiv1.SecretObjectReference{Name: "s"}
		if namespace, ok := p.Annotations["namespace"]; ok {
			ref.Namespace = ptr(gwapiv1.Namespace(namespace))
		}
		return []feature.Need{{Field: "certificate", Certificate: ref}}
	},
}

// securedBackend is a backend with TLS behind the route of protected, and a Gateway that presents a certificate to it.
const securedBackend = `
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {namespace: shop, name: orders}
spec:
  targetRefs: [{group: "", kind: Service, name: orders}]
  validation: {hostname: orders.test, wellKnownCACertificates: System}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: web}
spec:
  gatewayClassName: eg
  listeners: [{name: http, protocol: HTTP, port: 80}]
  tls: {backend: {clientCertificateRef: {name: s, namespace: %s}}}
`

const presentingPolicy = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {namespace: shop, name: presenting, labels: {team: a}, annotations: {namespace: %s}}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}]}
`

// TestCertificatesFailClosed takes the certificate away that a policy, or a Gateway, needs for its clusters. Then a
// fresh Envoy serves nothing that goes there.
func TestCertificatesFailClosed(t *testing.T) {
	for who, objects := range map[string]string{"policy": presentingPolicy, "Gateway": securedBackend} {
		for _, namespace := range []string{"shop", "other"} { // Nobody grants what is in the other one.
			t.Run(who+" and a Secret in "+namespace, func(t *testing.T) {
				w := newFetchingWorld(t)
				for _, o := range decode(t, []byte(strings.TrimSpace(fmt.Sprintf(objects, namespace)))) {
					change(t, w, o, false)
				}
				for _, step := range lostCertificates(namespace) {
					change(t, w, step.object, step.gone)
					served := forwards(t, w, "shop/web") && hasSecrets(w, "shop/web")
					if want := step.served && namespace == "shop"; served != want {
						t.Errorf("with %s the route is served: %t", step.what, served)
					}
				}
			})
		}
	}
}

func lostCertificates(namespace string) []loss {
	secret := func(data map[string][]byte) Object {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "s"}, Type: corev1.SecretTypeTLS,
			Data: data,
		}
	}
	whole, elsewhere := secret(pairs[0]), secret(pairs[0])
	elsewhere.SetNamespace("third")
	return []loss{
		{"no object", elsewhere, false, false},
		{"the object", whole, false, true},
		{"a key of another certificate", secret(map[string][]byte{
			"tls.crt": pairs[0]["tls.crt"],
			"tls.key": pairs[1]["tls.key"],
		}), false, false},
		{"no key", secret(map[string][]byte{"tls.crt": pairs[0]["tls.crt"]}), false, false},
		{"the object again", whole, false, true},
		{"the object deleted", whole, true, false},
	}
}

// hasSecrets reports whether a fresh Envoy gets all secrets that its clusters refer to. It uses no cluster before.
func hasSecrets(w *World, fleet string) bool {
	r := w.engine.Read()
	for _, resource := range w.all(fleet) {
		for _, need := range resource.Needs {
			if _, served := w.tables.clusterSecrets.Get(r, fleet+"|"+need.Name); need.Type == typeSecret && !served {
				return false
			}
		}
	}
	return true
}
