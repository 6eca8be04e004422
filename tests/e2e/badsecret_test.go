package e2e

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// certify answers with a certificate of the authority for a host and its key, in PEM. Change may change what the
// certificate says before it is signed.
func (a authority) certify(t *testing.T, host string, key crypto.Signer, change func(*x509.Certificate)) (certificate, private []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

// pem is the certificate of the authority.
func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// below is an authority with a certificate of this one.
func (a authority) below(t *testing.T) authority {
	t.Helper()
	key := curveKey(t, elliptic.P256())
	certificate, _ := a.certify(t, "intermediate", key, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.DNSNames = true, true, nil
	})
	block, _ := pem.Decode(certificate)
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return authority{parsed, key}
}

func curveKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// badSecret is what a Secret in use must not have.
type badSecret struct {
	name                 string
	certificate, key, ca []byte
	// words are said by the webhook, by the status and by the Event.
	words string
	// denied is whether the webhook denies it, otherwise it warns; kept is whether running Envoys keep the certificate of
	// before if it is stored all the same.
	denied, kept bool
	// condition and reason are those of the listener.
	condition, reason string
}

func badSecrets(t *testing.T, a authority, host string) []badSecret {
	t.Helper()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	key := curveKey(t, elliptic.P256())
	good, goodKey := a.certify(t, host, key, nil)
	_, otherKey := a.certify(t, host, curveKey(t, elliptic.P256()), nil)
	refused := badSecret{denied: true, kept: true, condition: "ResolvedRefs", reason: "InvalidCertificateRef"}
	var all []badSecret
	add := func(like badSecret, name, words string, certificate, key, ca []byte) {
		like.name, like.words, like.certificate, like.key, like.ca = name, words, certificate, key, ca
		all = append(all, like)
	}
	add(refused, "wrong key", "has a tls.key that does not belong to the certificate in tls.crt", good, otherKey, nil)
	add(refused, "broken PEM", "has a PEM block in tls.crt that cannot be read", good[:len(good)-40], goodKey, nil)
	certificate, private := a.certify(t, host, weak, nil)
	add(refused, "weak key", "has an RSA key of 1024 bits in tls.key, and Envoy takes 2048 to 8192", certificate, private, nil)
	certificate, private = a.certify(t, host, curveKey(t, elliptic.P224()), nil)
	add(refused, "wrong curve", "has a key on curve P-224", certificate, private, nil)
	add(refused, "authority first", "has its certificates in the wrong order: the one that tls.key belongs to is number 2",
		slices.Concat(a.pem(), good), goodKey, nil)

	untimely := badSecret{kept: true, condition: "ResolvedRefs", reason: "InvalidCertificateRef"}
	certificate, private = a.certify(t, host, key, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })
	add(untimely, "not yet valid", "has a certificate that is not valid before", certificate, private, nil)
	untimely.denied, untimely.kept = true, false
	certificate, private = a.certify(t, host, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-2 * time.Minute) })
	add(untimely, "expired", "has a certificate that expired at", certificate, private, nil)
	certificate, private = a.certify(t, "www.example.org", key, nil)
	add(badSecret{condition: "HostnameCovered", reason: "CertificateForOtherHosts"}, "wrong host",
		`has a certificate for ["www.example.org"] and not for "`+host+`"`, certificate, private, nil)
	chain := badSecret{condition: "ChainInOrder", reason: "ChainIncomplete"}
	add(chain, "unknown CA", `has a certificate that leads to no CA in its ca.crt: put that of its issuer "CN=authority 1" into tls.crt`, good, goodKey, newAuthority(t, 9).pem())
	certificate, private = a.below(t).certify(t, host, key, nil)
	add(chain, "incomplete chain", `has a certificate that leads to no CA in its ca.crt: put that of its issuer "CN=intermediate" into tls.crt`, certificate, private, a.pem())
	certificate, private = a.certify(t, host, key, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(time.Hour)
	})
	add(badSecret{condition: "CertificateCurrent", reason: "CertificateExpiresSoon"}, "expires soon",
		"has a certificate that expires soon, at", certificate, private, nil)
	return all
}

// TestBadSecretsInUse: a bad Secret in the place of one in use is denied or warned of with the reason. Where the webhook
// may not deny, the status of the listener and an Event have the reason too, running Envoys go on serving the certificate
// of before if they cannot serve the new one, and under load no request to another listener fails. A good Secret ends it.
func TestBadSecretsInUse(t *testing.T) {
	t.Parallel()
	s := newScene(t, "bad-secrets")
	a, used, other := newAuthority(t, 1), "used."+s.host(), "other."+s.host()
	manifest := func(name string, certificate, key, ca []byte) string {
		text := strings.ReplaceAll(secret(name, certificate, key), "namespace: default", "namespace: "+s.namespace)
		if ca != nil {
			text += "  ca.crt: " + base64.StdEncoding.EncodeToString(ca) + "\n"
		}
		return text
	}
	certificate, key := a.certify(t, used, curveKey(t, elliptic.P256()), nil)
	good := manifest("used", certificate, key, nil)
	certificate, key = a.certify(t, other, curveKey(t, elliptic.P256()), nil)
	s.apply(t, good, manifest("other", certificate, key, nil), fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  listeners:
  - {name: used, protocol: HTTPS, port: 443, hostname: %s, tls: {certificateRefs: [{name: used}]}}
  - {name: other, protocol: HTTPS, port: 443, hostname: %s, tls: {certificateRefs: [{name: other}]}}
`, used, other), route("r", "'*."+s.host()+"'"))
	at := address(t, s.namespace, "gw")
	issuedBy(t, at, used, string(a.pem()))
	issuedBy(t, at, other, string(a.pem()))
	all := badSecrets(t, a, used)
	for _, bad := range all {
		out, err := apply(manifest("used", bad.certificate, bad.key, bad.ca), "-n", s.namespace, "--dry-run=server")
		if (err != nil) != bad.denied || !bad.warned(out) && !strings.Contains(out, bad.words) {
			t.Errorf("%s: the webhook says %v: %s; want it denied: %t, with %q", bad.name, err, out, bad.denied, bad.words)
		}
		t.Logf("%s: %s", bad.name, out)
	}

	s.kubectl(t, "label", "namespace", s.namespace, "gatehouse.dev/admission=warn")
	said := func(name string) string {
		t.Helper()
		return s.kubectl(t, "get", "gateway/gw", "-o", fmt.Sprintf(`jsonpath={.status.listeners[?(@.name==%q)].conditions}`, name))
	}
	before := said("other")
	others := shakeHands(t, at, other, string(a.pem()))
	load := shakeHands(t, at, used, string(a.pem()))
	for _, bad := range all {
		if !bad.kept && load != nil {
			load.noneFailed() // The clients of this listener get what they refuse from here on.
			if load.seen() != 1 {
				t.Errorf("%d certificates were served while none was good but the first", load.seen())
			}
			load = nil
		}
		eventually(t, bad.name+" is stored with a warning", func() error {
			out, err := s.tryApply(manifest("used", bad.certificate, bad.key, bad.ca))
			if err != nil || !bad.warned(out) { // The label takes effect a moment later.
				return fmt.Errorf("%w: %s", errors.Join(err, errors.New("no warning")), out)
			}
			return nil
		})
		s.becomes(t, "gateway/gw", reason(`.status.listeners[?(@.name=="used")]`, bad.condition), bad.reason)
		s.reports(t, bad)
		time.Sleep(200 * time.Millisecond) // Some requests meet it.
		s.apply(t, good)
		s.becomes(t, "gateway/gw", condition(`.status.listeners[?(@.name=="used")]`, "ResolvedRefs"), "True")
		issuedBy(t, at, used, string(a.pem()))
	}
	others.noneFailed()
	if others.seen() != 1 {
		t.Errorf("the other listener served %d certificates", others.seen())
	}
	if now := said("other"); now != before {
		t.Errorf("the status of the other listener was %s, and is %s", before, now)
	}
}

// warned reports whether kubectl printed a warning of the Secret. Its middle is left out if it is long.
func (b badSecret) warned(out string) bool {
	return strings.Contains(out, "Warning: Gateway/") && strings.Contains(out, "/used "+b.words[:20])
}

// reports waits until the status of the listener and an Event about the Gateway have the words about a Secret.
func (s scene) reports(t *testing.T, bad badSecret) {
	t.Helper()
	eventually(t, bad.name+" is told of in the status and in an Event", func() error {
		words, err := kubectl("get", "gateway/gw", "-n", s.namespace, "-o",
			"jsonpath="+message(`.status.listeners[?(@.name=="used")]`, bad.condition))
		if err != nil || !strings.Contains(words, bad.words) {
			return fmt.Errorf("%w: the status says %s", errors.Join(err, errors.New("not there")), words)
		}
		events, err := kubectl("get", "events", "-n", s.namespace, "-o",
			`jsonpath={range .items[?(@.involvedObject.name=="gw")]}{.type} {.reason} {.message}{"\n"}{end}`)
		if err != nil {
			return fmt.Errorf("%w: %s", err, events)
		}
		for line := range bytes.Lines([]byte(events)) {
			if strings.HasPrefix(string(line), "Warning "+bad.reason+" listener used: ") && strings.Contains(string(line), bad.words) {
				return nil
			}
		}
		return fmt.Errorf("no Event among %s", events)
	})
}
