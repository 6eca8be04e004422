package certificate

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// judged is the content of a Secret and the expected message.
type judged struct {
	chain, key string
	staple     []byte
	// want is a part of the message, empty if the pair is accepted.
	want string
	// stricter says why the pair is rejected here although Envoy accepts it.
	stricter string
	// order is a part of the message about the chain's order if the pair is accepted, empty if there is no message.
	order string
}

func cases(t *testing.T) map[string]judged {
	a := newIssuer(t)
	k := p256(t)
	leaf := a.leaf(k, nil)
	chain, key := chainPEM(leaf, a.cert), keyPEM(t, k)
	ca := chainPEM(a.cert)
	all := map[string]judged{
		"good":                   {chain: chain, key: key},
		"leaf alone":             {chain: chainPEM(leaf), key: key},
		"no certificate":         {key: key, want: "has no tls.crt"},
		"no key":                 {chain: chain, want: "has no tls.key"},
		"text before":            {chain: "subject=CN = www.example.com\nissuer=CN = CA\n" + chain, key: key},
		"text between":           {chain: chainPEM(leaf) + "\n# the issuer\n" + ca, key: key},
		"text after":             {chain: chain + "# the end\n", key: key},
		"text after, no newline": {chain: strings.TrimSuffix(chain, "\n") + "\n\nthe end", key: key},
		"lines of Windows": {
			chain: strings.ReplaceAll(chain, "\n", "\r\n"),
			key:   strings.ReplaceAll(key, "\n", "\r\n"),
		},
		"no newline at the end": {chain: strings.TrimSuffix(chain, "\n"), key: strings.TrimSuffix(key, "\n")},
		"blanks behind lines":   {chain: strings.ReplaceAll(chain, "\n", " \n"), key: key},
		"text alone":            {chain: "hello", key: key, want: "without any PEM block CERTIFICATE"},
		"second cut off": {
			chain: chainPEM(leaf) + ca[:len(ca)/2], key: key,
			want: "PEM block in tls.crt that cannot be read",
		},
		"second without END": {
			chain: chainPEM(leaf) + ca[:strings.Index(ca, "-----END")], key: key,
			want: "PEM block in tls.crt that cannot be read",
		},
		"first cut off": {
			chain: chain[:100] + "\n" + ca, key: key,
			want: "PEM block in tls.crt that cannot be read",
		},
		"second without BEGIN": {
			chain: chainPEM(leaf) + ca[strings.Index(ca, "\n")+1:], key: key,
			want: "PEM block in tls.crt that cannot be read", stricter: "a part of the chain is lost",
		},
		"wrong END": {
			chain: strings.Replace(chainPEM(leaf), "END CERTIFICATE", "END THING", 1), key: key,
			want: "PEM block in tls.crt that cannot be read",
		},
		"broken base64": {
			chain: chainPEM(leaf) + strings.Replace(ca, "M", "*", 1), key: key,
			want: "PEM block in tls.crt that cannot be read",
		},
		"garbage in a block": {
			chain: chainPEM(leaf) + block("CERTIFICATE", []byte{0, 0, 0}), key: key,
			want: "cannot be parsed",
		},
		"header in a block": {
			chain: strings.Replace(chainPEM(leaf), "-----\n", "-----\nA: b\n\n", 1), key: key,
			want: "without headers",
		},
		"key in tls.crt": {
			chain: chain + key, key: key, want: `PEM block "PRIVATE KEY" in tls.crt`,
			stricter: "a key does not belong into what is public",
		},
		"trusted certificate": {
			chain: block("TRUSTED CERTIFICATE", leaf.Raw), key: key,
			want: `PEM block "TRUSTED CERTIFICATE" in tls.crt`, stricter: "behind the first one Envoy passes over it",
		},
		"reversed": {
			chain: chainPEM(a.cert, leaf), key: key,
			want: "wrong order: the one that tls.key belongs to is number 2",
		},
		"another's key":       {chain: chain, key: keyPEM(t, p256(t)), want: "does not belong to the certificate"},
		"another kind of key": {chain: chain, key: keyPEM(t, rsaKey(t, 2048)), want: "does not belong to the certificate"},

		"text around the key": {chain: chain, key: "Bag Attributes\n    friendlyName: x\nKey Attributes: <No Attributes>\n" +
			key + "# the end\n"},
		"parameters before": {
			chain: chain,
			key: "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" +
				block("EC PRIVATE KEY", sec1(t, k)),
		},
		"certificate before":   {chain: chain, key: chain + key},
		"second key":           {chain: chain, key: key + keyPEM(t, p256(t))},
		"SEC 1":                {chain: chain, key: block("EC PRIVATE KEY", sec1(t, k))},
		"SEC 1 as PKCS 8":      {chain: chain, key: block("PRIVATE KEY", sec1(t, k)), want: "cannot be read"},
		"SEC 1 as RSA":         {chain: chain, key: block("RSA PRIVATE KEY", sec1(t, k)), want: "cannot be read"},
		"key is text":          {chain: chain, key: "hello", want: "tls.key that is not PEM"},
		"key is a certificate": {chain: chain, key: chain, want: "holds no private key"},
		"key cut off":          {chain: chain, key: key[:len(key)/2], want: "PEM block in tls.key that cannot be read"},
		"encrypted key":        {chain: chain, key: block("ENCRYPTED PRIVATE KEY", []byte{1}), want: "is encrypted"},
		"encrypted key, old": {
			chain: chain, key: strings.Replace(block("EC PRIVATE KEY", sec1(t, k)), "-----\n",
				"-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00000000000000000000000000000000\n\n", 1),
			want: "is encrypted",
		},
		"OpenSSH key": {
			chain: chain, key: block("OPENSSH PRIVATE KEY", []byte{1}),
			want: `PEM block "OPENSSH PRIVATE KEY"`,
		},
		"key usage": {
			chain: chainPEM(a.leaf(k, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })),
			key:   key, want: "lacks digitalSignature",
		},
		"client's certificate": {chain: chainPEM(a.leaf(k,
			func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })), key: key},
		"expired": {chain: chainPEM(a.leaf(k,
			func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })), key: key},
		"not yet valid": {chain: chainPEM(a.leaf(k, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		})), key: key},
		"staple":            {chain: chain, key: key, staple: a.staple(leaf, nil)},
		"staple is text":    {chain: chain, key: key, staple: []byte("hello"), want: "not a valid OCSP response"},
		"staple of another": {chain: chain, key: key, staple: a.staple(a.leaf(k, nil), nil), want: "serial number"},
		"old staple": {chain: chain, key: key, staple: a.staple(leaf,
			func(r *ocsp.Response) { r.NextUpdate = time.Now().Add(-time.Minute) })},
		"staple says revoked": {chain: chain, key: key, staple: a.staple(leaf,
			func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, time.Now().Add(-time.Hour) })},
		"staple says unknown": {chain: chain, key: key, staple: a.staple(leaf,
			func(r *ocsp.Response) { r.Status = ocsp.Unknown })},
		"staple without an end": {chain: chain, key: key, staple: a.staple(leaf,
			func(r *ocsp.Response) { r.NextUpdate = time.Time{} })},
		"staple says try later": {chain: chain, key: key, staple: ocsp.TryLaterErrorResponse, want: "not a valid OCSP response"},
		"no staple for must":    {chain: chainPEM(a.leaf(k, demandStaple)), key: key, want: "must-staple"},
	}
	demanding := a.leaf(k, demandStaple)
	all["staple for must"] = judged{chain: chainPEM(demanding), key: key, staple: a.staple(demanding, nil)}
	all["wrong staple for must"] = judged{
		chain: chainPEM(demanding), key: key, staple: []byte("hello"),
		want: "not a valid OCSP response",
	}
	maps.Copy(all, chains(t))
	for _, bits := range []int{1024, 2040, 2048, 4096} {
		key, want := rsaKey(t, bits), ""
		if bits < 2048 {
			want = fmt.Sprintf("RSA key of %d bits", bits)
		}
		certificate := chainPEM(a.leaf(key, nil))
		all[fmt.Sprintf("RSA %d", bits)] = judged{chain: certificate, key: keyPEM(t, key), want: want}
		all[fmt.Sprintf("RSA %d, PKCS 1", bits)] = judged{
			chain: certificate,
			key:   block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), want: want,
		}
		all[fmt.Sprintf("RSA %d, key usage", bits)] = judged{
			chain: chainPEM(a.leaf(key, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })),
			key:   keyPEM(t, key), want: want,
		}
	}
	for _, c := range []elliptic.Curve{elliptic.P224(), elliptic.P384(), elliptic.P521()} {
		key, want := curve(t, c), ""
		if c == elliptic.P224() {
			want = "has a key on curve P-224"
		}
		all[c.Params().Name] = judged{chain: chainPEM(a.leaf(key, nil)), key: keyPEM(t, key), want: want}
	}
	ed := edwards(t)
	all["Ed25519"] = judged{chain: chainPEM(a.leaf(ed, nil)), key: keyPEM(t, ed)}
	all["Ed25519 key usage"] = judged{chain: chainPEM(a.leaf(ed,
		func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })), key: keyPEM(t, ed)}
	return all
}

// chains are cases with issuers after the certificate. Envoy sends them as they are.
func chains(t *testing.T) map[string]judged {
	root, k := newIssuer(t), p256(t)
	upper := root.authority("upper")
	lower := upper.authority("lower")
	leaf, key := lower.leaf(k, nil), keyPEM(t, k)
	again, other := lower.leaf(k, nil), newIssuer(t)
	crossed := other.sign(&x509.Certificate{
		Subject: upper.cert.Subject, SubjectKeyId: upper.cert.SubjectKeyId, IsCA: true,
		BasicConstraintsValid: true,
	}, upper.key.Public())
	all := map[string]judged{}
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		order string
	}{
		"issuers in order":             {chain: []*x509.Certificate{leaf, lower.cert, upper.cert, root.cert}},
		"root left out":                {chain: []*x509.Certificate{leaf, lower.cert, upper.cert}},
		"upper issuers left out":       {chain: []*x509.Certificate{leaf, lower.cert}},
		"an issuer of two authorities": {chain: []*x509.Certificate{leaf, lower.cert, upper.cert, crossed, root.cert}},
		"the other way to a root":      {chain: []*x509.Certificate{leaf, lower.cert, crossed, other.cert}},
		"certificate twice":            {chain: []*x509.Certificate{leaf, leaf, lower.cert}},
		"issuers swapped": {
			[]*x509.Certificate{leaf, upper.cert, lower.cert},
			`number 2 in tls.crt, "CN=upper", did not issue the one before it`,
		},
		"root first": {
			[]*x509.Certificate{leaf, root.cert, lower.cert, upper.cert},
			`number 2 in tls.crt, "CN=CA", did not issue`,
		},
		"upper issuers swapped": {
			[]*x509.Certificate{leaf, lower.cert, root.cert, upper.cert},
			`number 3 in tls.crt, "CN=CA", did not issue`,
		},
		"an issuer is missing in between": {
			[]*x509.Certificate{leaf, upper.cert},
			`number 2 in tls.crt, "CN=upper", did not issue`,
		},
		"another's issuer behind": {
			[]*x509.Certificate{leaf, lower.cert, other.cert},
			`number 3 in tls.crt, "CN=CA", did not issue`,
		},
		"an issuer with another key": {
			[]*x509.Certificate{leaf, upper.authority("lower").cert, upper.cert},
			`number 2 in tls.crt, "CN=lower", did not issue`,
		},
		"the certificate before this one": {chain: []*x509.Certificate{leaf, again, lower.cert}},
		"issuer behind what it did issue": {chain: []*x509.Certificate{leaf, lower.cert, upper.cert, upper.cert}},
		"issuers from the root downwards": {
			[]*x509.Certificate{leaf, root.cert, upper.cert, lower.cert},
			"put each issuer behind what it issued",
		},
		"a certificate of nobody's behind": {[]*x509.Certificate{
			leaf,
			other.leaf(p256(t), func(c *x509.Certificate) { c.Subject.CommonName = "x" }),
		}, `"CN=x", did not issue`},
	} {
		all[name] = judged{chain: chainPEM(c.chain...), key: key, order: c.order}
	}
	return all
}

// TestEnvoyAgrees: Envoy rejects what we reject, except for cases with a reason; and each rejection has its own
// message.
func TestEnvoyAgrees(t *testing.T) {
	envoy := envoyOf(t)
	for name, c := range cases(t) {
		t.Run(name, func(t *testing.T) {
			p, err := Parse(map[string][]byte{ChainKey: []byte(c.chain), PrivateKey: []byte(c.key), StapleKey: c.staple})
			if err == nil && p.WrongStaple != "" {
				err = errors.New(p.WrongStaple)
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("judged: %v, want %q", err, c.want)
			}
			if p != nil && (p.WrongOrder == "") != (c.order == "") || p != nil && !strings.Contains(p.WrongOrder, c.order) {
				t.Errorf("said of the order: %q, want %q", p.WrongOrder, c.order)
			}
			said, taken := envoy(t, serving(c))
			if taken != (c.want == "" || c.stricter != "") {
				t.Errorf("Envoy took it: %t, %s", taken, said)
			}
		})
	}
}

// TestEnvoyAgreesOnAuthorities does the same for CA certificates.
func TestEnvoyAgreesOnAuthorities(t *testing.T) {
	envoy := envoyOf(t)
	a, k := newIssuer(t), p256(t)
	one, two := chainPEM(a.cert), chainPEM(newIssuer(t).cert)
	good := judged{chain: chainPEM(a.leaf(k, nil)), key: keyPEM(t, k)}
	for name, c := range map[string]judged{
		"one":              {chain: one},
		"several":          {chain: one + two},
		"the same twice":   {chain: one + one},
		"words in between": {chain: "# Example\n" + one + "\n# Another\n" + two + "the end\n"},
		"empty":            {chain: "", want: "has no certificate in ca.crt"},
		"words alone":      {chain: "hello", want: "has no certificate in ca.crt"},
		"with a key": {
			chain: one + good.key, want: `PEM block "PRIVATE KEY"`,
			stricter: "a key does not belong there",
		},
		"cut off":              {chain: one + two[:len(two)/2], want: "cannot be read"},
		"garbage in the block": {chain: one + block("CERTIFICATE", []byte{0, 0}), want: "cannot be parsed"},
		"a leaf":               {chain: good.chain},
		"a short key":          {chain: chainPEM(a.leaf(rsaKey(t, 1024), nil))},
		"P-224":                {chain: chainPEM(a.leaf(curve(t, elliptic.P224()), nil))},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckAuthorities(AuthoritiesKey, []byte(c.chain))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("judged: %v, want %q", err, c.want)
			}
			context := serving(good)
			context["validationContext"] = map[string]any{"trustedCa": map[string]any{"inlineString": c.chain}}
			said, taken := envoy(t, context)
			if taken != (c.want == "" || c.stricter != "") {
				t.Errorf("Envoy took it: %t, %s", taken, said)
			}
		})
	}
}

// serving is the TLS context of a listener.
func serving(c judged) map[string]any {
	pair := map[string]any{
		"certificateChain": map[string]any{"inlineBytes": []byte(c.chain)},
		"privateKey":       map[string]any{"inlineBytes": []byte(c.key)},
	}
	if len(c.staple) > 0 {
		pair["ocspStaple"] = map[string]any{"inlineBytes": c.staple}
	}
	return map[string]any{"tlsCertificates": []any{pair}}
}

// envoyOf returns whether a real Envoy accepts a TLS context, and its message if it does not.
func envoyOf(t *testing.T) func(t *testing.T, context map[string]any) (said string, taken bool) {
	binary, err := filepath.Abs("../../bin/envoy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Skipf("no Envoy to test with: %v", err)
	}
	return func(t *testing.T, context map[string]any) (string, bool) {
		typed := func(name string, fields map[string]any) map[string]any {
			fields["@type"] = "type.googleapis.com/envoy.extensions." + name
			return fields
		}
		config, err := json.Marshal(map[string]any{"staticResources": map[string]any{"listeners": []any{map[string]any{
			"address": map[string]any{"socketAddress": map[string]any{"address": "127.0.0.1", "portValue": 0}},
			"filterChains": []any{map[string]any{
				"filters": []any{map[string]any{"name": "echo", "typedConfig": typed("filters.network.echo.v3.Echo",
					map[string]any{})}},
				"transportSocket": map[string]any{
					"name": "tls",
					"typedConfig": typed("transport_sockets.tls.v3.DownstreamTlsContext",
						map[string]any{"commonTlsContext": context}),
				},
			}},
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "envoy.json")
		if err := os.WriteFile(path, config, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), binary, "--mode", "validate", "--log-level", "error", "-c",
			path).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "error initializing configuration") {
			t.Fatalf("Envoy did not judge it: %v\n%s", err, out)
		}
		return string(out), err == nil
	}
}
