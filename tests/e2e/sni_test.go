package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// serial is the number of the certificate that is served for a server name.
func serial(at, serverName string) (int64, error) {
	conn, err := tls.Dial("tcp", at+":443", &tls.Config{ServerName: serverName, InsecureSkipVerify: true})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// serves waits until a certificate is served for a server name; 0 stands for none.
func serves(t *testing.T, at, serverName string, want int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("certificate %d is served for %s", want, serverName), func() error {
		got, err := serial(at, serverName)
		if got == want {
			return nil
		}
		return errors.Join(fmt.Errorf("certificate %d", got), err)
	})
}

const twoNames = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  listeners:
  - {name: one, protocol: HTTPS, port: 443, hostname: one.example.com, tls: {certificateRefs: [{name: one}]}}
  - {name: two, protocol: HTTPS, port: 443, hostname: two.example.com, tls: {certificateRefs: [{name: two}]}}
`

// TestOneBrokenCertificateOfTwo: listeners on one port serve each its own certificate, by the name that clients ask
// for. When one Secret breaks or vanishes while it is in use, running Envoys go on with what they have, a new Envoy
// opens the port without that listener, and the other listener notices nothing. When the Secret is whole again, its
// listener comes back.
func TestOneBrokenCertificateOfTwo(t *testing.T) {
	t.Parallel()
	s := newScene(t, "sni", "gatehouse.dev/admission=off") // Broken Secrets get in.
	one, oneKey := newPair(t, 1)
	two, twoKey := newPair(t, 2)
	local := func(name string, certificate, key []byte) string {
		return strings.Replace(secret(name, certificate, key), ", namespace: default", "", 1)
	}
	s.apply(t, local("one", one, oneKey), local("two", two, twoKey), twoNames)
	at := address(t, s.namespace, "gw")
	serves(t, at, "one.example.com", 1)
	serves(t, at, "two.example.com", 2)
	serves(t, at, "three.example.com", 0)
	both := func(name, kind string) string {
		return condition(fmt.Sprintf(`.status.listeners[?(@.name==%q)]`, name), kind)
	}
	s.becomes(t, "gateway/gw", both("one", "Programmed")+both("two", "Programmed"), "TrueTrue")

	out, err := s.tryApply(local("two", two, oneKey)) // The API server itself warns of the key.
	must(t, out, err)
	s.becomes(t, "gateway/gw", both("two", "ResolvedRefs")+both("two", "Programmed"), "FalseFalse")
	s.becomes(t, "gateway/gw", both("one", "ResolvedRefs")+both("one", "Programmed"), "TrueTrue")
	serves(t, at, "one.example.com", 1)
	serves(t, at, "two.example.com", 2)
	s.kubectl(t, "delete", "secret", "two")
	serves(t, at, "one.example.com", 1)
	serves(t, at, "two.example.com", 2)

	newEnvoy(t, s)
	serves(t, at, "one.example.com", 1)
	serves(t, at, "two.example.com", 0)
	s.becomes(t, "gateway/gw", condition(".status", "Programmed")+both("one", "Programmed")+both("two", "Programmed"),
		"TrueTrueFalse")
	s.apply(t, local("two", two, twoKey))
	serves(t, at, "two.example.com", 2)
	s.becomes(t, "gateway/gw", both("one", "Programmed")+both("two", "Programmed"), "TrueTrue")
}

// fleetOf selects what belongs to the Envoys of a scene's Gateway gw.
func fleetOf(s scene) []string {
	return []string{"-n", "gatehouse-system", "-l", "gateway.envoyproxy.io/owning-gateway-namespace=" + s.namespace +
		",gateway.envoyproxy.io/owning-gateway-name=gw"}
}

// newEnvoy replaces the Envoy of a scene's Gateway at once, so that nothing is left of what the old one had in memory.
func newEnvoy(t *testing.T, s scene) {
	t.Helper()
	out, err := kubectl(append([]string{"delete", "pods", "--grace-period=0", "--force"}, fleetOf(s)...)...)
	must(t, out, err)
	out, err = kubectl(append([]string{"wait", "pods", "--for=condition=Ready", "--timeout=30s"}, fleetOf(s)...)...)
	must(t, out, err)
}

// TestOneOfTwoCertificatesIsAbsent: a listener serves the certificates that are there, and kubectl and status tell of
// the one that is not.
func TestOneOfTwoCertificatesIsAbsent(t *testing.T) {
	t.Parallel()
	s := newScene(t, "pairs")
	one, oneKey := newPair(t, 1)
	out, err := s.tryApply(strings.Replace(secret("one", one, oneKey), ", namespace: default", "", 1) + `
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  listeners:
  - {name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: absent}, {name: one}]}}
`)
	if must(t, out, err); !strings.Contains(out, `Warning: spec.listeners[0].tls.certificateRefs[0]: no Secret "absent"`) {
		t.Errorf("no warning of the absent Secret: %s", out)
	}
	at := address(t, s.namespace, "gw")
	serves(t, at, "tls.example.com", 1)
	s.becomes(t, "gateway/gw", condition(".status.listeners[0]", "ResolvedRefs")+condition(".status.listeners[0]",
		"Programmed"), "FalseTrue")
}
