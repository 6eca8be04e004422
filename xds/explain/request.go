package explain

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Request is a request of a client, as the client sends it.
type Request struct {
	Method string
	// TLS reports whether the connection is encrypted. ServerName is the server name of its handshake, which may be
	// empty.
	TLS        bool
	ServerName string
	// Port is that of the listener.
	Port int32
	// Authority is the host with its port, if the client names one. Path has the query with it.
	Authority, Path string
	Headers         []Header
	// HTTP10 reports whether the client speaks HTTP/1.0.
	HTTP10 bool
	// Source is the client's address. It is not valid if it is not known.
	Source netip.Addr
}

// Header is a header of a request. Its name is in lower case.
type Header struct{ Name, Value string }

// methods are the HTTP methods that Envoy accepts. CONNECT is missing, because it has routes of its own.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"}

// wellKnown are the ports of schemes.
var wellKnown = map[string]int32{"http": 80, "https": 443}

// Parse reads a request as users write it: a method, a URL, and headers with a colon. A header Host replaces the host
// of the URL, but not the server name. The fragment of the URL is left out, because clients do not send it.
func Parse(method, url string, headers []string) (*Request, error) {
	r := &Request{Method: cmp.Or(method, "GET")}
	if !slices.Contains(methods, r.Method) {
		return nil, fmt.Errorf("method %q is not known here: use one of %s", method, strings.Join(methods, ", "))
	}
	scheme, rest, found := strings.Cut(url, "://")
	if !found {
		scheme, rest = "http", url
	}
	scheme = strings.ToLower(scheme)
	if wellKnown[scheme] == 0 {
		return nil, fmt.Errorf("scheme %q of the URL is not known here: use http or https", scheme)
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	r.Authority, r.Path = rest[:end], rest[end:]
	if !strings.HasPrefix(r.Path, "/") {
		r.Path = "/" + r.Path
	}
	r.TLS, r.Port = scheme == "https", wellKnown[scheme]
	host, port := splitPort(r.Authority)
	if port != "" {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return nil, fmt.Errorf("%q of the URL is not a port: write a number from 1 to 65535", port)
		}
		r.Port = int32(number)
	}
	if host == "" {
		return nil, fmt.Errorf("%q names no host: write a URL such as http://shop.example.com/cart", url)
	}
	if r.Port == wellKnown[scheme] {
		r.Authority = host // Clients leave it out.
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && r.TLS {
		r.ServerName = strings.TrimSuffix(strings.ToLower(host), ".")
	}
	return r, r.addHeaders(headers)
}

func (r *Request) addHeaders(lines []string) error {
	for _, line := range lines {
		name, value, found := strings.Cut(line, ":")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !found || name == "" {
			return fmt.Errorf("%q is not a header: write a name, a colon and a value", line)
		}
		if name == "host" {
			r.Authority = value
			continue
		}
		r.Headers = append(r.Headers, Header{name, value})
	}
	for _, text := range append([]string{r.Authority, r.Path}, lines...) {
		for _, c := range []byte(text) {
			if c < ' ' || c > '~' {
				return fmt.Errorf("%q has a character that is not visible ASCII: write it with %% and two digits", text)
			}
		}
	}
	if at := strings.IndexByte(r.Path+r.Authority, ' '); at >= 0 {
		return fmt.Errorf("%q has a blank: write %%20 instead", r.Authority+r.Path)
	}
	return nil
}

// splitPort splits a host with a port. An IPv6 address keeps its brackets.
func splitPort(authority string) (host, port string) {
	if h, p, err := net.SplitHostPort(authority); err == nil {
		if strings.Contains(h, ":") {
			h = "[" + h + "]"
		}
		return h, p
	}
	return authority, ""
}

// ownHeaders are headers that Envoy itself sets, changes or removes before it chooses a route.
var ownHeaders = []string{
	"x-forwarded-for", "x-forwarded-proto", "x-forwarded-client-cert", "x-request-id", "x-client-trace-id", "forwarded",
	"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "content-length", "expect",
	"http2-settings",
}

// isOwn reports whether Envoy itself decides what value a header has when it chooses a route.
func isOwn(name string) bool {
	return slices.Contains(ownHeaders, name) || strings.HasPrefix(name, "x-envoy-")
}
