package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	// rotationsOfOne is how often one certificate is replaced while nothing else happens, so that a p99 means something.
	rotationsOfOne = 500
	// rotationWorkers make requests over TLS while all certificates are replaced, and rotationStreams are the streams of each
	// kind over TLS.
	rotationWorkers = 10
	rotationStreams = 20
	// settling is how long the control plane and Envoy have until their memory is read.
	settling = 10 * time.Second
)

// certificates measures a Gateway that ListenerSets share, each with an HTTPS listener for a host of its own, a certificate
// and a route.
func (b *bench) certificates(ctx context.Context) error {
	for _, step := range []func(context.Context) error{b.createSecure, b.rotateOne, b.rotateAll} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// createSecure also measures memory for each listener.
func (b *bench) createSecure(ctx context.Context) error {
	streaming := route("grpc", "grpc", "/")
	streaming.Spec.Rules = []gwapiv1.HTTPRouteRule{streams()}
	objects := slices.Concat(service("web", 80, "", b.back.web[:3]...), service("grpc", 80, "kubernetes.io/h2c", b.back.streaming...),
		[]client.Object{route("web", "web", "/"), streaming})
	for _, o := range objects {
		if err := b.client.Create(ctx, o); err != nil {
			return fmt.Errorf("create %T %s: %w", o, o.GetName(), err)
		}
	}
	if _, err := b.until(webHost, ""); err != nil {
		return err
	}
	time.Sleep(settling)
	before, envoyBefore, err := b.memory(ctx)
	if err != nil {
		return err
	}
	progress("creating %d certificates, ListenerSets and routes", b.inside)
	start := time.Now()
	if err := each(b.inside, func(i int) error { return b.createSecureSet(ctx, i) }); err != nil {
		return err
	}
	last := time.Now()
	for i := range b.inside {
		if err := wait(ctx, time.Minute, b.presents(setHost(i), 1)); err != nil {
			return err
		}
	}
	say("creating all with a certificate and a route each, by 4 clients / all serve after that", "%s / %s",
		round(last.Sub(start)), round(time.Since(last)))
	time.Sleep(settling)
	after, envoy, err := b.memory(ctx)
	if err != nil {
		return err
	}
	perListener := func(before, after int64) float64 { return float64(after-before) / float64(b.inside) / (1 << 10) }
	say("control plane: CPU for creating", "%.1f s", after.cpu-before.cpu)
	say("control plane: RSS before / after / for each listener", "%d MiB / %d MiB / %.0f KiB",
		before.rss>>20, after.rss>>20, perListener(before.rss, after.rss))
	say("Envoy: RSS before / after / for each listener", "%d MiB / %d MiB / %.0f KiB",
		envoyBefore>>20, envoy>>20, perListener(envoyBefore, envoy))
	return nil
}

// memory is that of the control plane and of Envoy.
func (b *bench) memory(ctx context.Context) (plane usage, envoy int64, err error) {
	if plane, err = b.controlPlane(ctx); err != nil {
		return plane, 0, err
	}
	envoy, err = b.envoyRSS()
	return plane, envoy, err
}

// createSecureSet creates a Secret, a ListenerSet that names it, and a route for requests and streams.
func (b *bench) createSecureSet(ctx context.Context, i int) error {
	name, host := fmt.Sprintf("set%d", i), gwapiv1.Hostname(setHost(i))
	set := &gwapiv1.ListenerSet{ObjectMeta: named(name), Spec: gwapiv1.ListenerSetSpec{
		ParentRef: gwapiv1.ParentGatewayReference{Name: "eg"},
		Listeners: []gwapiv1.ListenerEntry{{
			Name: "https", Protocol: gwapiv1.HTTPSProtocolType, Port: 443, Hostname: &host,
			TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: gwapiv1.ObjectName(name)}}},
		}},
	}}
	r := route(name, "web", "/")
	r.Spec.Hostnames = nil // It serves its listener's.
	r.Spec.ParentRefs = []gwapiv1.ParentReference{{Kind: ptr(gwapiv1.Kind("ListenerSet")), Name: gwapiv1.ObjectName(name)}}
	r.Spec.Rules = append(r.Spec.Rules, streams())
	for _, o := range []client.Object{certificate(name, setHost(i), 1), set, r} {
		if err := b.client.Create(ctx, o); err != nil {
			return fmt.Errorf("create %T %s: %w", o, name, err)
		}
	}
	return nil
}

// rotateOne replaces one certificate at a time. Nothing may be sent but that certificate.
func (b *bench) rotateOne(ctx context.Context) error {
	progress("one certificate rotated, %d times", rotationsOfOne)
	before, err := b.controlPlane(ctx)
	if err != nil {
		return err
	}
	var answered, whole times
	for i := range rotationsOfOne {
		name, host, serial := fmt.Sprintf("set%d", i%b.inside), setHost(i%b.inside), int64(i+2)
		renewed := certificate(name, host, serial)
		start := time.Now()
		if err := b.client.Update(ctx, renewed); err != nil {
			return fmt.Errorf("rotate %s: %w", name, err)
		}
		stored := time.Now()
		for err := b.presents(host, serial)(); err != nil; err = b.presents(host, serial)() {
			if time.Since(stored) > 20*time.Second {
				return fmt.Errorf("certificate %s is not served: %w", name, err)
			}
			time.Sleep(time.Millisecond)
		}
		answered, whole = append(answered, time.Since(stored)), append(whole, time.Since(start))
		time.Sleep(20 * time.Millisecond)
	}
	after, err := b.controlPlane(ctx)
	if err != nil {
		return err
	}
	say("one rotated: from the API server's answer to the certificate on the wire, p50 / p99", "%s / %s",
		round(answered.at(50)), round(answered.at(99)))
	say("one rotated: from the request to the API server to the certificate on the wire, p50 / p99", "%s / %s",
		round(whole.at(50)), round(whole.at(99)))
	return sayOnlySecrets(fmt.Sprintf("one rotated, %d times", rotationsOfOne), before, after, rotationsOfOne)
}

// sayOnlySecrets fails if anything else was sent, or another number of them.
func sayOnlySecrets(what string, before, after usage, want int) error {
	sent := map[string]float64{}
	for kind, n := range after.sent {
		if more := n - before.sent[kind]; more > 0 {
			sent[kind] = more
		}
	}
	if !maps.Equal(sent, map[string]float64{"Secret": float64(want)}) {
		return fmt.Errorf("%s: sent to Envoy: %v, not only the %d secrets", what, sent, want)
	}
	say(what+": resources sent to Envoy", "%d secrets, nothing else", want)
	return nil
}

// rotateAll replaces all certificates as fast as the API server takes them, under load.
func (b *bench) rotateAll(ctx context.Context) error {
	progress("all certificates rotated under load")
	hosts := make([]string, b.inside)
	renewed := make([]*corev1.Secret, b.inside)
	const serial = 1_000_000
	for i := range b.inside {
		hosts[i] = setHost(i)
		renewed[i] = certificate(fmt.Sprintf("set%d", i), hosts[i], serial)
	}
	before, err := b.controlPlane(ctx)
	if err != nil {
		return err
	}
	l, err := startLoad(ctx, b.address, secureLoad{hosts, rotationWorkers, rotationStreams})
	if err != nil {
		return err
	}
	defer l.end()
	start := time.Now()
	if err := each(b.inside, func(i int) error { return b.client.Update(ctx, renewed[i]) }); err != nil {
		return fmt.Errorf("rotate all: %w", err)
	}
	stored := time.Now()
	for _, host := range hosts {
		if err := wait(ctx, time.Minute, b.presents(host, serial)); err != nil {
			return err
		}
	}
	served := time.Now()
	time.Sleep(settling) // What a change breaks may show later.
	took := time.Since(start)
	sent, failed, broken := l.sent.Load(), l.failed.Load(), l.broken.Load()
	after, envoy, err := b.memory(ctx)
	if err != nil {
		return err
	}
	say("all rotated by 4 clients under load / all seen on the wire after that", "%s / %s", round(stored.Sub(start)),
		round(served.Sub(stored)))
	say("all rotated: failed requests, broken streams", "%d of %d, %d of %d", failed, sent, broken, webSockets+gRPCStreams)
	say("all rotated: the load", "%.0f requests/s, %.0f messages/s over %d streams, %d of them over TLS",
		float64(sent)/took.Seconds(), float64(l.passed.Load())/took.Seconds(), webSockets+gRPCStreams, 2*rotationStreams)
	say("all rotated: control plane CPU / RSS after", "%.1f s / %d MiB", after.cpu-before.cpu, after.rss>>20)
	say("all rotated: Envoy RSS after", "%d MiB", envoy>>20)
	if failed > 0 || broken > 0 {
		return fmt.Errorf("all rotated: %d requests failed and %d streams broke", failed, broken)
	}
	return sayOnlySecrets("all rotated", before, after, b.inside)
}

// certificate is a self-signed one for a host with a serial number.
func certificate(name, host string, serial int64) *corev1.Secret {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // There is always randomness.
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{host},
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err) // As above.
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err) // As above.
	}
	return &corev1.Secret{ObjectMeta: named(name), Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}}
}
