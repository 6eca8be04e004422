package withenvoy

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/infra/envoytest"
)

// revoking is a ConfigMap with the authority's list of revoked certificates.
func (c *translated) revoking(name string, by *authority, revoked ...tls.Certificate) *corev1.ConfigMap {
	c.t.Helper()
	return c.revokingFrom(time.Now().Add(-time.Minute), name, by, revoked...)
}

// revokingFrom is revoking with a list that is valid for an hour.
func (c *translated) revokingFrom(begin time.Time, name string, by *authority, revoked ...tls.Certificate) *corev1.ConfigMap {
	c.t.Helper()
	meta := c.meta(name)
	list := &x509.RevocationList{Number: big.NewInt(meta.Generation), ThisUpdate: begin, NextUpdate: begin.Add(time.Hour)}
	for _, r := range revoked {
		leaf, err := x509.ParseCertificate(r.Certificate[0])
		if err != nil {
			c.t.Fatal(err)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, by.cert, by.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{
		"ca.crl": string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})),
	}}
}

// terminating is a policy for the listeners of the Gateway about TLS.
func (c *translated) terminating(spec v1alpha1.ClientTLSSettings) *v1alpha1.ClientTrafficPolicy {
	p := c.clients(v1alpha1.ClientTrafficPolicySpec{TLS: &spec})
	p.Spec.TargetRefs[0].SectionName = nil
	return p
}

func configMapRefs(name string) []gwapiv1.SecretObjectReference {
	return []gwapiv1.SecretObjectReference{{Kind: new(gwapiv1.Kind("ConfigMap")), Name: gwapiv1.ObjectName(name)}}
}

const (
	securePort = 10443
	secureHost = "www.example.com"
)

// startSecure serves secureHost over TLS on securePort, and returns the authority of the server.
func startSecure(t *testing.T) (*translated, *authority) {
	t.Helper()
	c, ca := startTranslated(t, false), newAuthority(t)
	c.apply(c.httpsGateway(gwapiv1.Listener{Name: "https", Port: 443}), c.secret("server", ca.issue(secureHost)),
		c.route(secureHost, nil))
	envoytest.WaitFor(t, "the route", func() bool { return c.lets() })
	return c, ca
}

// lets reports whether a client with these certificates gets an answer of the route.
func (c *translated) lets(certificates ...tls.Certificate) bool {
	return askTLS(c.t, securePort, secureHost, secureHost, certificates...) == "200"
}

// TestClientsArePolicied asks with certificates of several kinds while a policy for clients comes, changes, breaks and
// goes. While it is broken, nobody gets a connection.
func TestClientsArePolicied(t *testing.T) {
	c, ca := startSecure(t)
	client, named, stranger := ca.issue("client"), ca.issue("other"), newAuthority(t).issue("client")
	sum := sha256.Sum256(client.Certificate[0])
	c.apply(c.authorities("ca", ca.pem()), c.revoking("revoked", ca))
	refs := configMapRefs("ca")
	for _, step := range []struct {
		what                            string
		asks                            *v1alpha1.ClientValidationContext
		nobody, client, other, stranger bool
	}{
		{"RequireAndVerify", &v1alpha1.ClientValidationContext{CACertificateRefs: refs}, false, true, true, false},
		{"VerifyIfGiven", &v1alpha1.ClientValidationContext{CACertificateRefs: refs, Optional: true}, true, true, true, false},
		{
			"Request", &v1alpha1.ClientValidationContext{Mode: new(v1alpha1.ClientValidationRequest)},
			true, true, true, true,
		},
		{
			"RequireAny", &v1alpha1.ClientValidationContext{Mode: new(v1alpha1.ClientValidationRequireAny)},
			false, true, true, true,
		},
		{
			"names", &v1alpha1.ClientValidationContext{CACertificateRefs: refs, SubjectAltNames: &v1alpha1.SubjectAltNames{
				URIs: []v1alpha1.StringMatch{{Value: "spiffe://example.com/other"}},
			}}, false, false, true, false,
		},
		{
			"hashes", &v1alpha1.ClientValidationContext{CertificateHashes: []string{hex.EncodeToString(sum[:])}},
			false, true, false, false,
		},
		{
			"broken", &v1alpha1.ClientValidationContext{CACertificateRefs: configMapRefs("none")},
			false, false, false, false,
		},
		{"gone", nil, true, true, true, true},
	} {
		if step.asks != nil {
			c.apply(c.terminating(v1alpha1.ClientTLSSettings{ClientValidation: step.asks}))
		} else {
			c.delete(c.terminating(v1alpha1.ClientTLSSettings{}))
		}
		want := []bool{step.nobody, step.client, step.other, step.stranger}
		var got []bool
		envoytest.WaitFor(t, fmt.Sprintf("%s, %v", step.what, want), func() bool {
			got = []bool{c.lets(), c.lets(client), c.lets(named), c.lets(stranger)}
			return slices.Equal(got, want)
		})
	}
}

// TestRotationOfClientAuthorities rotates the lists of revoked certificates and the CA certificates of clients under
// load. No request of a valid client fails, and connections that are open stay open. A client whose certificate is
// revoked is refused, and so is one that wants to resume a session from before.
func TestRotationOfClientAuthorities(t *testing.T) {
	c, old := startSecure(t)
	next := newAuthority(t)
	valid, revoked, renewed := old.issue("valid"), old.issue("revoked"), next.issue("renewed")
	c.apply(c.authorities("ca", old.pem()), c.revoking("revoked", old), c.terminating(v1alpha1.ClientTLSSettings{
		Session: &v1alpha1.Session{Resumption: &v1alpha1.SessionResumption{
			Stateless: &v1alpha1.StatelessTLSSessionResumption{}, Stateful: &v1alpha1.StatefulTLSSessionResumption{},
		}},
		ClientValidation: &v1alpha1.ClientValidationContext{
			CACertificateRefs: configMapRefs("ca"),
			CRL:               &v1alpha1.CRL{Refs: configMapRefs("revoked")},
		},
	}))
	envoytest.WaitFor(t, "the policy", func() bool { return !c.lets() && c.lets(valid) && c.lets(revoked) })
	sessions := tls.NewLRUClientSessionCache(8)
	if _, err := c.resume(sessions, revoked); err != nil {
		t.Fatal(err)
	}
	if resumed, err := c.resume(sessions, revoked); err != nil || !resumed {
		t.Errorf("a session is resumed: %t, %v", resumed, err)
	}
	stop := c.load(valid)
	for i := range 20 {
		switch i {
		case 3:
			c.apply(c.revoking("revoked", old, revoked))
			envoytest.WaitFor(t, "the revoked client to be refused", func() bool { return !c.lets(revoked) })
			if _, err := c.resume(sessions, revoked); err == nil {
				t.Error("a revoked client resumes a session")
			}
		case 6: // Both authorities, each with its list.
			both := c.revoking("revoked", old, revoked)
			both.Data["ca.crl"] += c.revoking("revoked", next).Data["ca.crl"]
			c.apply(both)
			c.apply(c.authorities("ca", old.pem()+next.pem()))
			envoytest.WaitFor(t, "a client of the new authority", func() bool { return c.lets(renewed) })
		default:
			list := c.revoking("revoked", old, revoked)
			if i > 6 {
				list.Data["ca.crl"] += c.revoking("revoked", next).Data["ca.crl"]
			} else if i < 3 {
				list = c.revoking("revoked", old)
			}
			c.apply(list)
		}
		c.quiet()
	}
	stop()
	if c.lets(revoked) || !c.lets(valid) || !c.lets(renewed) {
		t.Error("after all rotations, other clients are let in than before")
	}
}

// TestRevocationsOutOfTime: while no list of an authority is valid, Envoy refuses its clients. One that is valid is enough.
func TestRevocationsOutOfTime(t *testing.T) {
	c, ca := startSecure(t)
	client := ca.issue("client")
	c.apply(c.authorities("ca", ca.pem()), c.revoking("lists", ca), c.terminating(v1alpha1.ClientTLSSettings{
		ClientValidation: &v1alpha1.ClientValidationContext{
			CACertificateRefs: configMapRefs("ca"), CRL: &v1alpha1.CRL{Refs: configMapRefs("lists")},
		},
	}))
	envoytest.WaitFor(t, "the policy", func() bool { return !c.lets() && c.lets(client) })
	ended := c.revokingFrom(time.Now().Add(-2*time.Hour), "lists", ca)
	early := c.revokingFrom(time.Now().Add(time.Hour), "lists", ca)
	both := c.revoking("lists", ca)
	both.Data["ca.crl"] = ended.Data["ca.crl"] + both.Data["ca.crl"]
	for _, step := range []struct {
		what  string
		lists *corev1.ConfigMap
		lets  bool
	}{{"ended", ended, false}, {"ended, and valid", both, true}, {"early", early, false}} {
		c.apply(step.lists)
		envoytest.WaitFor(t, step.what, func() bool { return c.lets(client) == step.lets })
	}
}

// resume sends a request over a connection of its own, and reports whether it resumed a session.
func (c *translated) resume(sessions tls.ClientSessionCache, certificate tls.Certificate) (bool, error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		ServerName: secureHost, InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate},
		ClientSessionCache: sessions,
	}}
	defer transport.CloseIdleConnections()
	response, err := c.send(transport)
	if err != nil {
		return false, err
	}
	return response.TLS.DidResume, nil
}

func (c *translated) send(transport http.RoundTripper) (*http.Response, error) {
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet,
		fmt.Sprintf("https://127.0.0.1:%d/", securePort), nil)
	if err != nil {
		return nil, err
	}
	request.Host = secureHost
	response, err := (&http.Client{Timeout: 5 * time.Second, Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return response, nil
}

// load sends requests with a certificate until stop is called: some over connections of their own, others over one that
// must stay open.
func (c *translated) load(certificate tls.Certificate) (stop func()) {
	var (
		group      sync.WaitGroup
		done       atomic.Bool
		sent, kept atomic.Int32
	)
	for i := range 4 {
		group.Go(func() {
			config := &tls.Config{
				ServerName: secureHost, InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate},
			}
			if i == 0 {
				config.VerifyConnection = func(tls.ConnectionState) error { kept.Add(1); return nil }
			}
			transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
			for !done.Load() {
				if _, err := c.send(transport); err != nil {
					c.t.Errorf("a valid client: %v", err)
					return
				}
				if sent.Add(1); i > 0 {
					transport.CloseIdleConnections()
				}
				time.Sleep(time.Millisecond)
			}
			transport.CloseIdleConnections()
		})
	}
	return func() {
		done.Store(true)
		group.Wait()
		if sent.Load() == 0 {
			c.t.Error("no request was sent")
		}
		if n := kept.Load(); n != 1 {
			c.t.Errorf("a connection that is kept open was opened %d times", n)
		}
		c.t.Logf("%d requests", sent.Load())
	}
}

// TestTLSSettings: the versions, the protocols and the ciphers of the policy are those that clients get.
func TestTLSSettings(t *testing.T) {
	c, _ := startSecure(t)
	for _, step := range []struct {
		settings v1alpha1.TLSSettings
		want     string
	}{
		{v1alpha1.TLSSettings{MinVersion: new(v1alpha1.TLSv13)}, "TLS 1.3 h2"},
		{
			v1alpha1.TLSSettings{
				MaxVersion: new(v1alpha1.TLSv12), ALPNProtocols: []v1alpha1.ALPNProtocol{"http/1.1"},
				Ciphers: []string{"ECDHE-ECDSA-AES256-GCM-SHA384"},
			},
			"TLS 1.2 http/1.1 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		},
		{v1alpha1.TLSSettings{ALPNProtocols: []v1alpha1.ALPNProtocol{}}, "TLS 1.3 "},
		{
			v1alpha1.TLSSettings{
				MinVersion: new(v1alpha1.TLSv10), MaxVersion: new(v1alpha1.TLSv11),
				Ciphers:      []string{"ECDHE-ECDSA-AES128-SHA"}, // None of the others is for TLS 1.1.
				Fingerprints: []v1alpha1.TLSFingerprint{"JA3", "JA4"},
			},
			"TLS 1.1 h2",
		},
	} {
		c.apply(c.terminating(v1alpha1.ClientTLSSettings{TLSSettings: step.settings}))
		got := ""
		envoytest.WaitFor(t, step.want, func() bool {
			conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", securePort), &tls.Config{
				ServerName: secureHost, InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"},
				MinVersion: tls.VersionTLS10,
			})
			if err != nil {
				got = err.Error()
				return false
			}
			defer func() { _ = conn.Close() }()
			state := conn.ConnectionState()
			got = fmt.Sprintf("%s %s", tls.VersionName(state.Version), state.NegotiatedProtocol)
			if state.Version == tls.VersionTLS12 {
				got += " " + tls.CipherSuiteName(state.CipherSuite)
			}
			return strings.HasPrefix(got, step.want)
		})
	}
}
