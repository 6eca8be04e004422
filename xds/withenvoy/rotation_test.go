package withenvoy

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/infra/envoytest"
	"gatehouse/translator"
)

// secured is a ListenerSet with an HTTPS listener for a host, and a Secret of the same name.
func (c *translated) secured(host string) *gwapiv1.ListenerSet {
	return &gwapiv1.ListenerSet{ObjectMeta: c.meta(host), Spec: gwapiv1.ListenerSetSpec{
		ParentRef: gwapiv1.ParentGatewayReference{Name: "web"},
		Listeners: []gwapiv1.ListenerEntry{{
			Name: "https", Port: 443, Protocol: gwapiv1.HTTPSProtocolType, Hostname: new(gwapiv1.Hostname(host)),
			TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: gwapiv1.ObjectName(host)}}},
		}},
	}}
}

// presents waits until the listener of a host has a certificate.
func (c *translated) presents(host string, certificate tls.Certificate) {
	c.t.Helper()
	envoytest.WaitFor(c.t, "the certificate of "+host, func() bool {
		state, err := handshake(10443, host)
		return err == nil && bytes.Equal(state.PeerCertificates[0].Raw, certificate.Certificate[0])
	})
}

// TestRotationSendsOneSecret has many HTTPS listeners of ListenerSets on one port, each with a certificate of its own. The
// renewal of one certificate sends one secret and nothing else, however many others there are. The renewal of all sends as
// many secrets, changes no listener of Envoy, and closes no connection.
func TestRotationSendsOneSecret(t *testing.T) {
	const listeners = 50
	c, ca := startTranslated(t, false), newAuthority(t)
	host := func(i int) string { return fmt.Sprintf("%d.example.com", i) }
	g := c.gateway(false)
	g.Spec.AllowedListeners = &gwapiv1.AllowedListeners{Namespaces: &gwapiv1.ListenerNamespaces{From: new(gwapiv1.NamespacesFromSame)}}
	objects := []translator.Object{g}
	for i := range listeners {
		route := c.route(host(i), nil)
		route.Spec.ParentRefs = []gwapiv1.ParentReference{{Kind: new(gwapiv1.Kind("ListenerSet")), Name: gwapiv1.ObjectName(host(i))}}
		objects = append(objects, c.secret(host(i), ca.issue(host(i))), c.secured(host(i)), route)
	}
	c.apply(objects...)
	kept := keep(host(7))
	defer kept.CloseIdleConnections()
	envoytest.WaitFor(t, "the listeners", func() bool { return kept.get() == http.StatusOK })
	opened := kept.opened
	c.quiet()

	sent, updates := c.sent(), c.updates()
	renewed := ca.issue(host(3))
	c.apply(c.secret(host(3), renewed))
	c.presents(host(3), renewed)
	c.quiet()
	sent["Secret"]++
	if diff := cmp.Diff(sent, c.sent()); diff != "" {
		t.Errorf("the renewal of one of %d certificates sends other than one secret (-want +got):\n%s", listeners, diff)
	}

	for i := range listeners {
		renewed = ca.issue(host(i))
		c.apply(c.secret(host(i), renewed))
		if code := kept.get(); code != http.StatusOK {
			t.Fatalf("after %d renewals, a request over a kept connection gets %d", i+1, code)
		}
	}
	c.presents(host(listeners-1), renewed)
	c.quiet()
	sent["Secret"] += listeners
	if diff := cmp.Diff(sent, c.sent()); diff != "" {
		t.Errorf("the renewal of all certificates sends other than their secrets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(updates, c.updates()); diff != "" {
		t.Errorf("renewals change more of Envoy than secrets (-before +after):\n%s", diff)
	}
	if kept.opened != opened {
		t.Errorf("the kept connection was closed: %d connections were opened, want %d", kept.opened, opened)
	}
}

// keptClient sends requests to one host over a connection that it keeps.
type keptClient struct {
	http.Client
	host   string
	opened int
}

func keep(host string) *keptClient {
	c := &keptClient{host: host}
	c.Transport = &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			c.opened++
			return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:10443")
		},
	}
	return c
}

// get answers with the status, 0 if there is no answer.
func (c *keptClient) get() int {
	response, err := c.Get("https://" + c.host + "/")
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, response.Body) // What is not read would end the connection.
	_ = response.Body.Close()                 // The status is enough.
	return response.StatusCode
}
