package heavy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Around are the Gateway with a number of listeners, its class, a Service, and a light route with a host of its own.
func Around(controller string, listeners int) (*gwapiv1.GatewayClass, *gwapiv1.Gateway, *corev1.Service,
	*gwapiv1.HTTPRoute,
) {
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: Namespace, Name: name, UID: "around", Generation: int64(listeners)}
	}
	class := &gwapiv1.GatewayClass{
		ObjectMeta: meta("heavy"),
		Spec:       gwapiv1.GatewayClassSpec{ControllerName: gwapiv1.GatewayController(controller)},
	}
	class.Namespace = ""
	gateway := &gwapiv1.Gateway{ObjectMeta: meta(Gateway), Spec: gwapiv1.GatewaySpec{GatewayClassName: "heavy"}}
	all := gwapiv1.NamespacesFromAll
	gateway.Spec.AllowedListeners = &gwapiv1.AllowedListeners{Namespaces: &gwapiv1.ListenerNamespaces{From: &all}}
	for i := range listeners {
		gateway.Spec.Listeners = append(gateway.Spec.Listeners, gwapiv1.Listener{
			Name: gwapiv1.SectionName(fmt.Sprintf("l%d", i)), Protocol: gwapiv1.HTTPProtocolType, Port: int32(FirstPort + i),
		})
	}
	service := &corev1.Service{ObjectMeta: meta("s")}
	for port := range ServicePorts {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Port: int32(1 + port)})
	}
	return class, gateway, service, Light("light")
}

// Filtered gives all listeners of the Gateway as many filters as they may have, each of which names so many headers, of
// that length.
func Filtered(gateway *gwapiv1.Gateway, names, length int) {
	config := &gwapiv1.HTTPAuthConfig{}
	for i := range names {
		config.AllowedRequestHeaders = append(config.AllowedRequestHeaders, fmt.Sprintf("x-%0*d", length-2, i))
	}
	config.AllowedResponseHeaders = config.AllowedRequestHeaders
	filter := gwapiv1.ListenerFilter{
		Type: gwapiv1.ListenerFilterExternalAuth,
		ExternalAuth: &gwapiv1.HTTPExternalAuthFilter{
			ExternalAuthProtocol: gwapiv1.HTTPRouteExternalAuthHTTPProtocol, HTTPAuthConfig: config,
			BackendRef: gwapiv1.BackendObjectReference{Name: "s", Port: new(int32(1))},
		},
	}
	filters := &gwapiv1.ListenerFilters{}
	for range entries {
		filters.Requests = append(filters.Requests, filter)
	}
	for i := range gateway.Spec.Listeners {
		gateway.Spec.Listeners[i].Filters = filters
	}
	gateway.Generation++
}

// Light is a route that serves everything of the host NAME.example.com.
func Light(name string) *gwapiv1.HTTPRoute {
	route := Make(Content{Rules: 1}).Route
	route.Name, route.UID, route.Spec.Hostnames = name, types.UID(name),
		[]gwapiv1.Hostname{gwapiv1.Hostname(name + ".example.com")}
	return route
}

// Words are for the strings of random objects (crdtest.Maker), so that they refer to what is around them and to each
// other, all of which have the name of the Gateway.
var Words = map[string][]string{
	"parentRefs.name": {Gateway}, "parentRefs.namespace": {Namespace}, "parentRefs.kind": {"Gateway"},
	"parentRefs.group": {gwapiv1.GroupName}, "parentRefs.sectionName": {"l0"},
	"parentRef.name": {Gateway}, "parentRef.namespace": {Namespace}, "parentRef.kind": {"Gateway"},
	"parentRef.group":  {gwapiv1.GroupName},
	"backendRefs.name": {"s"}, "backendRefs.namespace": {Namespace}, "backendRefs.kind": {"Service"},
	"backendRefs.group": {""},
	"backendRef.name":   {"s"}, "backendRef.namespace": {Namespace}, "backendRef.kind": {"Service"},
	"backendRef.group": {""},
	"targetRefs.group": {gwapiv1.GroupName, ""}, "targetRef.group": {gwapiv1.GroupName},
	"targetRefs.name": {Gateway, Gateway, "s"}, "targetRefs.kind": {
		"HTTPRoute", "GRPCRoute", "Gateway", "TCPRoute",
		"Service",
	},
	"targetRef.name": {Gateway}, "targetRef.kind": {"HTTPRoute", "GRPCRoute", "Gateway", "TCPRoute"},
	"targetSelectors.kind": {"HTTPRoute", "HTTPRoute", "GRPCRoute", "Gateway"}, "targetSelectors.group": {gwapiv1.GroupName},
	"tls.minVersion": {"1.0", "1.2"}, "tls.maxVersion": {"1.2", "1.3"},
	"certificateRefs.name": {"cert"}, "certificateRefs.kind": {"Secret"}, "certificateRefs.group": {""},
	"certificateRefs.namespace": {Namespace},
	"caCertificateRefs.name":    {"ca"}, "caCertificateRefs.kind": {"ConfigMap"}, "caCertificateRefs.group": {""},
	"caCertificateRefs.namespace": {Namespace},
	"name":                        {Gateway, "l0", "x-a"}, "namespace": {Namespace}, "gatewayClassName": {"heavy"},
	"group": {"", gwapiv1.GroupName}, "sectionName": {"l0"},
	"hostname": {"a.example.com", "*.example.com"}, "hostnames": {"a.example.com", "*.example.com"},
	"value":    {"/", "/a", "a", "[0-9]+"},
	"protocol": {"HTTP", "HTTP", "HTTPS", "TLS", "TCP", "UDP"},
}

// Texts are regular expressions that cost much to be read, to be compiled, or to be kept.
var Texts = []string{
	`(?:` + strings.Repeat("a", 3000) + `){1000}`, `(?i)[B-\x{1e943}]`, strings.Repeat(`\pL`, 200),
	strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789", 100), `(?:[a-z]+[0-9]|[^/]){200}`,
	`((a?){30}){30}`, strings.Repeat("word|", 200), `[a-z]{1,500}`, `(?i:abcdefghij){700}`, "(", `/v[0-9]+/.*`,
	strings.Repeat("(a|b)?", 150),
}

// Credentials are a Secret with a certificate and its key, and a ConfigMap with that certificate as an authority.
func Credentials() (*corev1.Secret, *corev1.ConfigMap, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"*.example.com"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: Namespace, Name: name, UID: "around"}
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &corev1.Secret{ObjectMeta: meta("cert"), Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{
			Type:  "PRIVATE KEY",
			Bytes: key,
		}),
	}}, &corev1.ConfigMap{ObjectMeta: meta("ca"), Data: map[string]string{"ca.crt": string(certificate)}}, nil
}
