package policies

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"gatehouse/policies/feature"
)

// pair is a certificate and its key, in PEM.
type pair struct{ chain, key []byte }

// serverCertificate is that of listeners for HTTPS. It issued itself.
var serverCertificate = sync.OnceValue(func() pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"shop.test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pair{
		chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
	}
})

// serverSocket terminates TLS as a listener says, with what Envoy gets by SDS in it.
func serverSocket(l *feature.Listener) *corev3.TransportSocket {
	if l.TLS.CommonTlsContext == nil {
		l.TLS.CommonTlsContext = &tlsv3.CommonTlsContext{}
	}
	bytes := func(content []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: content}}
	}
	l.TLS.CommonTlsContext.TlsCertificates = []*tlsv3.TlsCertificate{{
		CertificateChain: bytes(serverCertificate().chain), PrivateKey: bytes(serverCertificate().key),
	}}
	if l.Clients != nil {
		l.TLS.CommonTlsContext.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: l.Clients}
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: feature.Any(l.TLS)},
	}
}
