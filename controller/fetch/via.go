package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"

	"gatehouse/policies/backendtls"
	"gatehouse/translator"
)

// maxEndpoints is how many endpoints one connection is tried with, of fallbacks and of other backends.
const maxEndpoints = 3

// Through returns a client that fetches from the endpoints of backends, whatever address the URL's host has. It does
// not follow redirects to other hosts. If via is nil, it fetches as this client does.
func (c *Client) Through(via *translator.Via) *Client {
	through := *c
	through.via = via
	return &through
}

// toBackends sends the connections of a transport to the endpoints of the backends.
func (c *Client) toBackends(transport *http.Transport) {
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, backend, err := c.dialEndpoint(ctx, network)
		if err != nil || backend.TLS == nil {
			return conn, err
		}
		return secured(ctx, conn, c.backendTLS(backend.TLS, hostOf(address)))
	}
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, backend, err := c.dialEndpoint(ctx, network)
		if err != nil {
			return nil, err
		}
		if backend.TLS != nil {
			return secured(ctx, conn, c.backendTLS(backend.TLS, hostOf(address)))
		}
		return secured(ctx, conn, &tls.Config{ServerName: hostOf(address), RootCAs: c.Authorities, MinVersion: tls.VersionTLS12})
	}
}

// hostOf is the host of an address with a port, which http.Transport adds.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

func secured(ctx context.Context, conn net.Conn, config *tls.Config) (net.Conn, error) {
	client := tls.Client(conn, config)
	if err := client.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // It is not used.
		return nil, fmt.Errorf("begin TLS: %w", err)
	}
	return client, nil
}

// target is an endpoint of a backend.
type target struct {
	address string
	backend *translator.ViaBackend
}

// targets are some endpoints in the order in which they are tried, those of fallbacks last.
func (c *Client) targets() []target {
	var first, last []target
	for i := range c.via.Backends {
		b := &c.via.Backends[i]
		list := &first
		if b.Fallback {
			list = &last
		}
		for _, e := range b.Endpoints {
			*list = append(*list, target{e, b})
		}
	}
	for _, list := range [][]target{first, last} {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return slices.Concat(first[:min(len(first), maxEndpoints)], last[:min(len(last), maxEndpoints)])
}

// dialEndpoint connects to the first endpoint that answers.
func (c *Client) dialEndpoint(ctx context.Context, network string) (net.Conn, *translator.ViaBackend, error) {
	err := error(Failure("its backend has no endpoint that is ready"))
	for _, t := range c.targets() {
		addresses := c.Discovered
		if t.backend.Listed {
			addresses = c.Addresses
		}
		dialer := dialer(addresses)
		dialer.Timeout = c.Timeout / (2*maxEndpoints + 1)
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, network, t.address); err == nil {
			return conn, t.backend, nil
		}
	}
	return nil, nil, fmt.Errorf("connect to the backend: %w", err)
}

// backendTLS is the configuration by which the backend is verified (Gateway API, BackendTLSPolicyValidation): by its
// hostname, or by the subject alternative names if it has some. Without both, by the host of the URL.
func (c *Client) backendTLS(t *translator.ViaTLS, host string) *tls.Config {
	names, authorities := t.Verified, c.Authorities
	if len(t.Authorities) > 0 {
		authorities = x509.NewCertPool()
		authorities.AppendCertsFromPEM(t.Authorities)
	}
	config := &tls.Config{
		ServerName: cmp.Or(names.SNI, host), RootCAs: authorities, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: t.Unverified, //nolint:gosec // The Backend asks for it.
	}
	if t.Unverified {
		return config
	}
	if len(names.Hosts)+len(names.URIs) > 0 {
		config.InsecureSkipVerify = true //nolint:gosec // VerifyConnection verifies the certificate by other names.
		config.VerifyConnection = func(state tls.ConnectionState) error {
			return verify(state.PeerCertificates, authorities, names)
		}
	}
	return config
}

// verify checks the certificates of a server, and that the first one has one of the subject alternative names.
func verify(certificates []*x509.Certificate, authorities *x509.CertPool, names backendtls.Names) error {
	leaf, others := certificates[0], x509.NewCertPool()
	for _, c := range certificates[1:] {
		others.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: authorities, Intermediates: others}); err != nil {
		return fmt.Errorf("verify the certificate: %w", err)
	}
	for _, host := range names.Hosts {
		if leaf.VerifyHostname(host) == nil {
			return nil
		}
	}
	for _, uri := range leaf.URIs {
		if slices.Contains(names.URIs, uri.String()) {
			return nil
		}
	}
	return x509.HostnameError{Certificate: leaf, Host: names.SNI}
}

// stayAtHost is checkRedirect for a backend, which is asked for one host only.
func stayAtHost(next *http.Request, before []*http.Request) error {
	if next.URL.Hostname() != before[0].URL.Hostname() {
		return Failure("it redirects to another host, and its backend is asked only for the host of the URL")
	}
	return checkRedirect(next, before)
}
