//go:debug rsa1024min=0
package withenvoy

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// weak is a secret that Envoy rejects: a certificate with an RSA key of 1024 bits.
func weak(t *testing.T, name string) *translator.Resource {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	content, err := json.Marshal(map[string]any{"name": name, "tls_certificate": map[string]any{
		"certificate_chain": map[string]any{"inline_bytes": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})},
		"private_key": map[string]any{"inline_bytes": pem.EncodeToMemory(&pem.Block{
			Type:  "RSA PRIVATE KEY",
			Bytes: x509.MarshalPKCS1PrivateKey(key),
		})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return made(&tlsv3.Secret{}, name, string(content))
}

func strong(t *testing.T, name string) *translator.Resource {
	t.Helper()
	_, leaf := certificates(t, name)
	return secretOf(t, name, leaf)
}

// tlsListener has a filter chain for each list of secrets, whose names are joined by "+"; the server name is the first
// of them.
func tlsListener(more string, chains ...string) *translator.Resource {
	text := fmt.Sprintf(`
name: secure
address: {socket_address: {address: 127.0.0.1, port_value: 10443}}
listener_filters:
- name: envoy.filters.listener.tls_inspector
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
%s
filter_chains:
`, more)
	needs := []translator.Name{routesName}
	for _, chain := range chains {
		names := strings.Split(chain, "+")
		var configs []string
		for _, name := range names {
			configs = append(configs, fmt.Sprintf("{name: %s, sds_config: %s}", name, ads))
			needs = append(needs, secretName(name))
		}
		text += fmt.Sprintf(`
- name: %[1]s
  filter_chain_match: {server_names: [%[2]s]}
  filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: secure
      rds: {route_config_name: %[3]s, config_source: %[4]s}
      http_filters:
      - name: envoy.filters.http.router
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  transport_socket:
    name: envoy.transport_sockets.tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
      common_tls_context: {tls_certificate_sds_secret_configs: [%[5]s]}
`, strings.ReplaceAll(chain, "+", "-"), names[0], web, ads, strings.Join(configs, ", "))
	}
	return made(&listenerv3.Listener{}, "secure", text, needs...)
}

func shakes(name string) bool {
	conn, err := tls.Dial("tcp", "127.0.0.1:10443", &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// shop has the other resources that the listeners of these tests need.
func shop(t *testing.T, more ...*translator.Resource) []*translator.Resource {
	return append(more, cluster("a", ""), endpoints("a", backend(t, "a")), routes("/", "a"))
}

// serves waits until a handshake succeeds for each of the names, and fails for those that begin with "!".
func (c *controlled) serves(names ...string) {
	c.t.Helper()
	for _, name := range names {
		name, dead := strings.CutPrefix(name, "!")
		envoytest.WaitFor(c.t, fmt.Sprintf("a handshake for %s to succeed: %t", name, !dead),
			func() bool { return shakes(name) != dead })
	}
}

// tells waits until exactly these resources are reported as rejected, and the versions of secrets among them are
// guilty.
func (c *controlled) tells(rejected ...*translator.Resource) {
	c.t.Helper()
	c.reports(func(p translator.Proxy, _ bool) string {
		for _, r := range rejected {
			_, guilty := p.Guilty[r.Version]
			if p.Rejected[translator.Name{Type: r.Type, Name: r.Name}] == "" || !guilty {
				return fmt.Sprintf("%s: %+v", r.Name, p)
			}
		}
		if len(p.Rejected) != len(rejected) || len(p.Guilty) != len(rejected) {
			return fmt.Sprintf("%+v", p)
		}
		return ""
	})
}

// forgetReport makes the next assertion wait for a report of the current control plane.
func (c *controlled) forgetReport() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proxy = translator.Proxy{}
}

const wholeChange = "per_connection_buffer_limit_bytes: %d" // Makes Envoy build all filter chains again.

// TestRejectedCertificates: Envoy remembers a secret that it has rejected, and then acknowledges the same bytes. With
// any other resources, and on any stream, the rejection is reported and harms nobody else.
func TestRejectedCertificates(t *testing.T) {
	t.Run("first start", func(t *testing.T) {
		bad, worse := weak(t, "bad"), weak(t, "worse")
		c := start(t, shop(t, tlsListener("", "one", "bad", "two", "worse"), strong(t, "one"), bad, strong(t, "two"),
			worse)...)
		c.serves("one", "two", "!bad", "!worse")
		c.tells(bad, worse)
		c.publish(tlsListener(fmt.Sprintf(wholeChange, 40000), "one", "bad", "two", "worse", "three"), strong(t, "three"))
		c.serves("one", "two", "three", "!bad", "!worse")
		c.tells(bad, worse)
	})
	t.Run("mended", func(t *testing.T) {
		bad := weak(t, "bad")
		c := start(t, shop(t, tlsListener("", "one", "bad"), strong(t, "one"), bad)...)
		c.tells(bad)
		c.change(nil, []translator.Name{secretName("bad")}) // As the translation does with guilty parts.
		c.publish(tlsListener(fmt.Sprintf(wholeChange, 40000), "one", "bad", "two"), strong(t, "two"))
		c.serves("one", "two", "!bad")
		c.publish(strong(t, "bad"))
		c.serves("one", "two", "bad")
	})
	t.Run("rollout", func(t *testing.T) {
		c := start(t, shop(t, tlsListener("", "one", "bad"), strong(t, "one"), strong(t, "bad"))...)
		c.serves("one", "bad")
		bad, worse := weak(t, "bad"), weak(t, "worse")
		c.publish(tlsListener("", "one", "bad", "two", "worse"), bad, worse, strong(t, "one"), strong(t, "two"))
		c.tells(bad, worse)
		c.serves("one", "two", "bad", "!worse")
		c.publish(tlsListener(fmt.Sprintf(wholeChange, 40000), "one", "bad", "two", "three", "worse"), strong(t, "three"))
		c.serves("one", "two", "three", "bad", "!worse")
		c.tells(bad, worse)
	})
	t.Run("other replica", func(t *testing.T) {
		bad := weak(t, "bad")
		c := start(t, shop(t, tlsListener("", "one", "bad"), strong(t, "one"))...)
		c.serves("one")
		c.publish(bad)
		c.tells(bad)
		for range 2 {
			c.restart()
			c.forgetReport()
			c.tells(bad)
		}
		c.publish(tlsListener(fmt.Sprintf(wholeChange, 40000), "one", "bad", "two"), strong(t, "two"))
		c.serves("one", "two", "!bad")
		c.tells(bad)
		c.restart()
		c.publish(tlsListener(fmt.Sprintf(wholeChange, 50000), "one", "bad", "two", "three"), strong(t, "three"))
		c.serves("one", "two", "three", "!bad")
	})
	t.Run("replica that knows", func(t *testing.T) {
		bad := weak(t, "bad")
		c := start(t, shop(t, tlsListener("", "one", "bad"), strong(t, "one"), bad)...)
		c.serves("one")
		c.tells(bad)
		c.change(nil, []translator.Name{secretName("bad")})
		c.restart() // The listener may reach the proxy before the proxy has reported its secrets again.
		c.publish(tlsListener(fmt.Sprintf(wholeChange, 40000), "one", "bad", "two"), strong(t, "two"))
		c.serves("one", "two", "!bad")
	})
	t.Run("of a pair", func(t *testing.T) {
		bad := weak(t, "bad")
		c := start(t, shop(t, tlsListener("", "one", "bad+good"), strong(t, "one"), strong(t, "good"), bad)...)
		c.reports(func(p translator.Proxy, _ bool) string {
			if _, guilty := p.Guilty[bad.Version]; !guilty || len(p.Guilty) != 1 {
				return fmt.Sprintf("%+v", p)
			}
			return ""
		})
		c.change([]*translator.Resource{tlsListener("", "one", "good")}, []translator.Name{secretName("bad")})
		c.serves("one", "good")
		c.reports(func(p translator.Proxy, _ bool) string {
			if !p.Secrets["good"] || len(p.Rejected) > 0 {
				return fmt.Sprintf("%+v", p)
			}
			return ""
		})
	})
}
