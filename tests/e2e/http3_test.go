package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// http3Target makes this program a client of HTTP/3: it sends one request to the address that the variable has, for the
// host behind a space, and prints the response.
const http3Target = "GATEHOUSE_HTTP3_TARGET"

// overQUIC is a response over HTTP/3.
type overQUIC struct {
	Proto string
	Code  int
	// Clients are the addresses of the client that the backend was told, Pod is the backend.
	Clients []string
	Pod     string
}

func askHTTP3(target string) error {
	at, host, _ := strings.Cut(target, " ")
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true},
		QUICConfig:      &quic.Config{HandshakeIdleTimeout: 2 * time.Second},
	}
	request, err := http.NewRequest(http.MethodGet, "https://"+at+"/", nil)
	if err != nil {
		return err
	}
	request.Host = host
	response, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	got, asked := overQUIC{Proto: response.Proto, Code: response.StatusCode}, answer{}.asked
	if response.StatusCode == http.StatusOK {
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &asked); err != nil {
			return err
		}
	}
	got.Clients, got.Pod = asked.Headers["X-Forwarded-For"], asked.Pod
	return json.NewEncoder(os.Stdout).Encode(got)
}

// http3Get sends a request over HTTP/3 from inside of the cluster's network, where UDP gets through.
func http3Get(at, host string) (got overQUIC, err error) {
	program, err := os.Executable()
	if err != nil {
		return got, err
	}
	out, err := inside("env", fmt.Sprintf("%s=%s:443 %s", http3Target, at, host), program)
	if err != nil {
		return got, fmt.Errorf("no answer over HTTP/3: %w", err)
	}
	return got, json.Unmarshal([]byte(out), &got)
}

// http3Answers waits until a request over HTTP/3 gets a status.
func http3Answers(t *testing.T, at, host string, want int) (got overQUIC) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s gets %d over HTTP/3", host, want), func() (err error) {
		if got, err = http3Get(at, host); err == nil && (got.Code != want || got.Proto != "HTTP/3.0") {
			err = fmt.Errorf("%+v", got)
		}
		return err
	})
	return got
}

// clientOverTCP is what the backend is told of a client that connects over TCP from the same place.
func clientOverTCP(t *testing.T, at, host string) []string {
	t.Helper()
	out, err := inside("curl", "-sSk", "--fail", "--max-time", "5", "--resolve", host+":443:"+at, "https://"+host+"/")
	must(t, out, err)
	asked := answer{}.asked
	if err := json.Unmarshal([]byte(out), &asked); err != nil {
		t.Fatal(err)
	}
	return asked.Headers["X-Forwarded-For"]
}

// secured sends requests for a host over TLS, whatever their scheme.
type secured struct{ *http.Transport }

func newSecured(host string) secured {
	return secured{&http.Transport{
		TLSClientConfig:   &tls.Config{ServerName: host, InsecureSkipVerify: true},
		ForceAttemptHTTP2: true,
	}}
}

func (s secured) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme = "https"
	return s.Transport.RoundTrip(r)
}

// offered is what a response over HTTP/2 says about HTTP/3.
func offered(at, host string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, "https://"+at+":443/", nil)
	if err != nil {
		return "", err
	}
	request.Host = host
	client := newSecured(host)
	defer client.CloseIdleConnections()
	response, err := (&http.Client{Transport: client, Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	return strings.TrimSpace(response.Proto + " " + response.Header.Get("Alt-Svc")), nil
}

func offers(t *testing.T, at, host, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a response over TCP says %q", want), func() error {
		got, err := offered(at, host)
		if err == nil && got != want {
			err = fmt.Errorf("it says %q", got)
		}
		return err
	})
}

const http3Policy = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: http3}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  http3: {}
`

// onlyFrom lets clients of one address in.
const onlyFrom = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: clients}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  authorization:
    defaultAction: Deny
    rules: [{action: Allow, principal: {clientCIDRs: ["%s/32"]}}]
`

// TestHTTP3: HTTP/3 comes and goes with a policy, and requests over TCP do not notice. What protects a route holds over
// QUIC too, for which Envoy sees the real addresses of clients. No Envoy is replaced.
func TestHTTP3(t *testing.T) {
	t.Parallel()
	const host = "h3.example.com"
	s := newScene(t, "http3", "gatehouse.dev/admission=off") // It gets a policy without its Secret.
	certificate, key := newPair(t, 30)
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), strings.Replace(secret("cert", certificate, key), ", namespace: default", "", 1),
		strings.Replace(httpsGateway("gw", "cert"), ", namespace: default", "", 1), route("r", host))
	at, cluster := address(t, s.namespace, "gw"), s.addresses(t, "gw", 1)[0]
	offers(t, at, host, "HTTP/2.0")
	if got, err := http3Get(cluster, host); err == nil {
		t.Errorf("without a policy, a request over HTTP/3 gets %+v", got)
	}
	envoys := func() string {
		pods, err := kubectl(append([]string{"get", "pods", "-o", "name"}, fleetOf(s)...)...)
		return must(t, pods, err)
	}
	before := envoys()
	kept := loadBy(&http.Client{Timeout: 5 * time.Second, Transport: newSecured(host)}, at+":443", host)
	single := newSecured(host)
	single.DisableKeepAlives = true
	fresh := loadBy(&http.Client{Timeout: 5 * time.Second, Transport: single}, at+":443", host)

	s.apply(t, http3Policy)
	offers(t, at, host, `HTTP/2.0 h3=":443"; ma=86400`)
	got := http3Answers(t, cluster, host, http.StatusOK)
	if client := clientOverTCP(t, cluster, host); !strings.HasPrefix(got.Pod, "a-") || !slices.Equal(got.Clients, client) {
		t.Errorf("over HTTP/3 %q answers, and was told the client %q, want %q as over TCP", got.Pod, got.Clients, client)
	}
	s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")

	s.kubectl(t, "delete", "clienttrafficpolicy", "http3")
	offers(t, at, host, "HTTP/2.0")
	eventually(t, "HTTP/3 is gone", func() error {
		if got, err := http3Get(cluster, host); err == nil {
			return fmt.Errorf("it answers %+v", got)
		}
		return nil
	})
	noneFailed(t, kept)
	noneFailed(t, fresh)

	s.apply(t, http3Policy, fmt.Sprintf(onlyFrom, got.Clients[0]))
	http3Answers(t, cluster, host, http.StatusOK)
	s.apply(t, fmt.Sprintf(onlyFrom, "192.0.2.1"))
	http3Answers(t, cluster, host, http.StatusForbidden)
	s.kubectl(t, "patch", "securitypolicy", "clients", "--type=merge", "-p", `{"spec":{"basicAuth":{"users":{"name":"absent"}}}}`)
	http3Answers(t, cluster, host, http.StatusInternalServerError)
	if after := envoys(); after != before {
		t.Errorf("the Envoys were replaced: %s by %s", before, after)
	}
}
