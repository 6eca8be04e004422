package fetch

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// loopback allows what is on the machine of the test.
var loopback = NewAddresses(prefixes("127.0.0.0/8", "::1/128"), nil)

// site is a web server of a test, on 127.0.0.1.
func site(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// wantFailure fetches and expects those words and no content.
func wantFailure(t *testing.T, c *Client, url, want string) {
	t.Helper()
	answer, err := c.Get(t.Context(), url, 100, "")
	var failure Failure
	if answer != nil || !errors.As(err, &failure) || string(failure) != want {
		t.Errorf("%s: got %v and %q (%v), want %q", url, answer, failure, err, want)
	}
}

func TestGet(t *testing.T) {
	var asked *http.Request
	s := site(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte("content"))
	})
	c := &Client{Addresses: loopback, Timeout: time.Minute}
	answer, err := c.Get(t.Context(), s.URL+"/a?b=c", 7, "")
	if err != nil || string(answer.Content) != "content" || answer.ETag != `"1"` || answer.Unchanged {
		t.Fatalf("got %+v, %v", answer, err)
	}
	if asked.URL.RequestURI() != "/a?b=c" || asked.Header.Get("Authorization") != "" ||
		asked.Header.Get("Accept-Encoding") != "" {
		t.Errorf("asked %s with %v", asked.URL, asked.Header)
	}
	answer, err = c.Get(t.Context(), s.URL, 7, `"1"`)
	if err != nil || !answer.Unchanged || answer.Content != nil || answer.ETag != `"1"` {
		t.Errorf("with the ETag: got %+v, %v", answer, err)
	}
	answer, err = c.Get(t.Context(), s.URL, 7, `"0"`)
	if err != nil || answer.Unchanged || string(answer.Content) != "content" {
		t.Errorf("with an older ETag: got %+v, %v", answer, err)
	}
}

// TestLoopbackIsDeniedByDefault: nothing is sent to this machine, under any of its names, unless its address is
// allowed.
func TestLoopbackIsDeniedByDefault(t *testing.T) {
	s := site(t, func(http.ResponseWriter, *http.Request) { t.Error("a request arrived") })
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Addresses: NewAddresses(nil, nil), Timeout: time.Minute}
	wantFailure(t, c, s.URL, "address 127.0.0.1 is not one that the control plane may fetch from (fetching.allowedCIDRs of its configuration)")
	for _, host := range []string{"localhost", "[::ffff:127.0.0.1]"} {
		_, err := c.Get(t.Context(), "http://"+net.JoinHostPort(strings.Trim(host, "[]"), port), 100, "")
		var failure Failure
		if !errors.As(err, &failure) || !strings.Contains(string(failure),
			"is not one that the control plane may fetch from") {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestRedirects: each address on the way is checked, and the way has an end.
func TestRedirects(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	internal := httptest.NewUnstartedServer(says("secret"))
	_ = internal.Listener.Close() // It is replaced.
	internal.Listener = listener
	internal.Start()
	t.Cleanup(internal.Close)
	s := site(t, func(w http.ResponseWriter, r *http.Request) {
		var hops int
		if n, _ := fmt.Sscanf(r.URL.Path, "/hops/%d", &hops); n == 1 && hops > 0 {
			http.Redirect(w, r, fmt.Sprintf("/hops/%d", hops-1), http.StatusFound)
			return
		}
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusMovedPermanently)
		case "/internal":
			http.Redirect(w, r, internal.URL, http.StatusTemporaryRedirect)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/nowhere":
			w.WriteHeader(http.StatusFound)
		default:
			says("content")(w, r)
		}
	})
	c := &Client{Addresses: NewAddresses(prefixes("127.0.0.1/32"), nil), Timeout: time.Minute}
	answer, err := c.Get(t.Context(), s.URL+"/hops/5", 100, "")
	if err != nil || string(answer.Content) != "content" {
		t.Errorf("after five redirects: %+v, %v", answer, err)
	}
	wantFailure(t, c, s.URL+"/hops/6", "it redirects more than 5 times")
	wantFailure(t, c, s.URL+"/loop", "it redirects more than 5 times")
	wantFailure(t, c, s.URL+"/internal",
		"address 127.0.0.2 is not one that the control plane may fetch from (fetching.allowedCIDRs of its configuration)")
	wantFailure(t, c, s.URL+"/file", "it redirects to something other than a web server")
	wantFailure(t, c, s.URL+"/nowhere", "it answers with status 302")
	c.Addresses = loopback
	if answer, err = c.Get(t.Context(), s.URL+"/internal", 100, ""); err != nil || string(answer.Content) != "secret" {
		t.Errorf("to an address that is allowed: %+v, %v", answer, err)
	}
}

// TestLimits: a server takes no more time and memory than it is given, and what it sends does not get into the words.
func TestLimits(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat("secret", 1000))); err != nil {
				return
			}
		}
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"one byte too many": {says(strings.Repeat("x", 101)), "the content has more than 100 bytes"},
		"endless":           {endless, "the content has more than 100 bytes"},
		"large headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Secret", strings.Repeat("x", maxHeaders))
		}, "it does not answer as a web server does"},
		"no answer": {
			func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			"there is no complete answer within 300ms",
		},
		"no end": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("secret"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "there is no complete answer within 300ms"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "50")
			_, _ = w.Write([]byte("secret"))
		}, "it does not answer as a web server does"},
		"an error": {
			func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret", http.StatusTeapot) },
			"it answers with status 418",
		},
		"no such page": {http.NotFound, "it answers with status 404"},
		"not modified": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
			"it answers with status 304",
		},
		"no content": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
			"it answers with status 204",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wantFailure(t, &Client{Addresses: loopback, Timeout: 300 * time.Millisecond}, site(t, tt.handler).URL, tt.want)
		})
	}
	t.Run("ETag", func(t *testing.T) {
		for _, tag := range []string{strings.Repeat("x", maxETag+1), "\x80"} {
			s := site(t, func(w http.ResponseWriter, _ *http.Request) { w.Header()["Etag"] = []string{tag} })
			answer, err := (&Client{Addresses: loopback, Timeout: time.Minute}).Get(t.Context(), s.URL, 100, "")
			if err != nil || answer.ETag != "" {
				t.Errorf("%.10q: %+v, %v", tag, answer, err)
			}
		}
	})
}

// TestOtherServers: the words say what is wrong with something that is not a web server, or is not there.
func TestOtherServers(t *testing.T) {
	banner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = banner.Close() })
	go func() {
		for {
			conn, err := banner.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 64<<10)) // Otherwise the connection is reset.
			_, _ = conn.Write([]byte("220 secret.internal ESMTP\r\n"))
			_ = conn.Close()
		}
	}()
	closed := site(t, says(""))
	closed.Close()
	c := &Client{Addresses: loopback, Timeout: time.Minute}
	wantFailure(t, c, "http://"+banner.Addr().String(), "it does not answer as a web server does")
	wantFailure(t, c, "https://"+banner.Addr().String(), "it does not answer as a web server does")
	wantFailure(t, c, closed.URL, "connection refused")
}

func TestTLS(t *testing.T) {
	plain := site(t, says("plain"))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plain" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
			return
		}
		says("content")(w, r)
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	c := &Client{Addresses: loopback, Timeout: time.Minute}
	wantFailure(t, c, s.URL, "its certificate is from an authority that is not trusted")
	c.Authorities = x509.NewCertPool()
	c.Authorities.AddCert(s.Certificate())
	if answer, err := c.Get(t.Context(), s.URL, 100, ""); err != nil || string(answer.Content) != "content" {
		t.Errorf("with the authority: %+v, %v", answer, err)
	}
	wantFailure(t, c, strings.Replace(s.URL, "127.0.0.1", "localhost", 1), "its certificate is for other hosts")
	wantFailure(t, c, s.URL+"/plain", "it redirects from https to http")
}
