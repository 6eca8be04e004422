package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"gatehouse/translator"
)

const (
	// maxRedirects is how many redirects of one fetch are followed.
	maxRedirects = 5
	// maxHeaders is the maximum size of the headers of an answer, maxETag that of its ETag, in bytes.
	maxHeaders = 32 << 10
	maxETag    = 1 << 10
)

// Client fetches over HTTP, within limits of addresses, size, time and redirects. It sends no credentials and uses no
// proxy, because a proxy would decide which addresses are reached.
type Client struct {
	// Addresses are checked before each connection, when the name of the host has been resolved. So a redirect, or a
	// name that resolves to other addresses later, leads to no address that is denied.
	Addresses *Addresses
	// Timeout is the maximum time for everything together: redirects, headers and body.
	Timeout time.Duration
	// Authorities are the CA certificates of servers. If it is nil, those of the system are used.
	Authorities *x509.CertPool
	// Discovered are checked instead of Addresses for endpoints of a backend that EndpointSlices have.
	Discovered *Addresses

	via *translator.Via
}

// Answer is the answer of a server.
type Answer struct {
	// Unchanged reports whether the server still has the content with the ETag that was sent. There is no Content then.
	Unchanged bool
	Content   []byte
	// ETag is empty if the server sends none that can be used.
	ETag string
}

// Failure is why nothing was fetched, in words that fit behind a colon and are for the authors of policies. They are
// the same in each attempt with the same result, and contain nothing of what the server sent, because the server may be
// one that these authors may not read from.
type Failure string

// Error returns the words.
func (f Failure) Error() string { return string(f) }

// failureOf returns the words of the Failure of an error; empty if it has none.
func failureOf(err error) string {
	var failure Failure
	if errors.As(err, &failure) {
		return string(failure)
	}
	return ""
}

// Get fetches at most limit bytes from a URL. If etag is not empty, it is the ETag of content that is known. An error
// has a Failure in its chain.
func (c *Client) Get(ctx context.Context, url string, limit int64, etag string) (*Answer, error) {
	content := bytes.NewBuffer([]byte{})
	answer, err := c.Save(ctx, url, limit, etag, content)
	if err == nil && !answer.Unchanged {
		answer.Content = content.Bytes()
	}
	return answer, err
}

// Save is Get for content that is written to a file. The Answer has no Content. An error of the file has no Failure in
// its chain.
func (c *Client) Save(ctx context.Context, url string, limit int64, etag string, file io.Writer) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", Failure("the URL cannot be requested"), err)
	}
	request.Header.Set("User-Agent", "gatehouse")
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	response, err := c.http().Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	defer func() { _ = response.Body.Close() }() // All of it that counts has been read.
	switch {
	case response.StatusCode == http.StatusNotModified && etag != "":
		return &Answer{Unchanged: true, ETag: etag}, nil
	case response.StatusCode != http.StatusOK:
		return nil, Failure(fmt.Sprintf("it answers with status %d", response.StatusCode))
	}
	if err := c.copy(file, response.Body, limit); err != nil {
		return nil, err
	}
	answer := &Answer{}
	if tag := response.Header.Get("ETag"); len(tag) <= maxETag && isASCII(tag) {
		answer.ETag = tag
	}
	return answer, nil
}

// copy copies the body of an answer, with no more than limit bytes.
func (c *Client) copy(file io.Writer, body io.Reader, limit int64) error {
	part := make([]byte, 32<<10)
	for size := int64(0); ; {
		n, err := body.Read(part)
		if size += int64(n); size > limit {
			return Failure(fmt.Sprintf("the content has more than %d bytes", limit))
		}
		if _, err := file.Write(part[:n]); err != nil {
			return fmt.Errorf("keep what is fetched: %w", err)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.explain(err)
		}
	}
}

// http returns a client for one fetch. No connection remains open: fetches are rare, and each is to use the addresses
// that the name of the host has now.
func (c *Client) http() *http.Client {
	transport := &http.Transport{
		DialContext:            dialer(c.Addresses).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.Authorities},
		DisableKeepAlives:      true,
		DisableCompression:     true, // The limit is for what is read, so it must not grow afterwards.
		MaxResponseHeaderBytes: maxHeaders,
	}
	if c.via == nil {
		return &http.Client{CheckRedirect: checkRedirect, Transport: transport}
	}
	c.toBackends(transport)
	return &http.Client{CheckRedirect: stayAtHost, Transport: transport}
}

// dialer returns what opens connections, and checks the address of each one before.
func dialer(addresses *Addresses) *net.Dialer {
	return &net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		target, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w (%w)", Failure("its host has no address"), err)
		}
		if !addresses.Allowed(target.Addr()) {
			return Failure(fmt.Sprintf("address %s is not one that the control plane may fetch from "+
				"(fetching.allowedCIDRs of its configuration)", target.Addr()))
		}
		return nil
	}}
}

func checkRedirect(next *http.Request, before []*http.Request) error {
	last := before[len(before)-1].URL
	switch {
	case len(before) > maxRedirects:
		return Failure(fmt.Sprintf("it redirects more than %d times", maxRedirects))
	case next.URL.Scheme != "http" && next.URL.Scheme != "https":
		return Failure("it redirects to something other than a web server")
	case last.Scheme == "https" && next.URL.Scheme == "http":
		return Failure("it redirects from https to http")
	}
	return nil
}

// explain puts a Failure before an error of a request.
func (c *Client) explain(err error) error {
	if failureOf(err) != "" {
		return err
	}
	return fmt.Errorf("%w (%w)", c.failure(err), err)
}

// failure finds words for an error. They leave out the error's own text, which may have ports, times, or what was
// received.
func (c *Client) failure(err error) Failure {
	var (
		timeout interface{ Timeout() bool }
		dns     *net.DNSError
		invalid x509.CertificateInvalidError
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		number  syscall.Errno
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "its host has no address in DNS"
	case errors.As(err, &dns):
		return "the address of its host cannot be found out, because DNS does not answer as it should"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Failure(fmt.Sprintf("there is no complete answer within %s", c.Timeout))
	case errors.As(err, &unknown):
		return "its certificate is from an authority that is not trusted"
	case errors.As(err, &name):
		return "its certificate is for other hosts"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired, or is not valid yet"
	case errors.As(err, &invalid):
		return "its certificate is not valid for a server"
	case errors.As(err, &number):
		return Failure(number.Error())
	}
	return "it does not answer as a web server does"
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
