package translator

import (
	"fmt"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// misdirectedOn counts the hosts that each listener of a ListenerSet answers 421 to, by the listener's name. The set
// has n listeners with exact hostnames, and perhaps one for all others of the domain. The Gateway has one of another
// host.
func misdirectedOn(t *testing.T, n int, wild bool) map[string]int {
	t.Helper()
	w := setWorld(t, 0)
	set := benchSet(1, int64(n+1))
	set.Spec.Listeners[n].Hostname = ptr(gwapiv1.Hostname("*.ls1.example.org"))
	if !wild {
		set.Spec.Listeners = set.Spec.Listeners[:n]
	}
	for i := range set.Spec.Listeners {
		l := &set.Spec.Listeners[i]
		l.Protocol, l.Port = gwapiv1.HTTPSProtocolType, 443
		l.TLS = &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: "s"}}}
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}, Type: corev1.SecretTypeTLS,
		Data: pairs[0],
	}
	if _, err := w.Apply([]Event{{Object: set}, {Object: secret}}); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, r := range w.all("n/g") {
		m, err := r.message()
		if err != nil {
			t.Fatal(err)
		}
		config, ok := m.(*routev3.RouteConfiguration)
		if !ok {
			continue
		}
		for _, host := range config.VirtualHosts {
			if strings.HasSuffix(host.Name, "/:misdirected") {
				counts[config.Name[strings.LastIndex(config.Name, "/")+1:]] = len(host.Domains)
			}
		}
	}
	return counts
}

// TestMisdirectedAmongMany: listeners of a port know the hosts of each other, as long as they are few. Where they are
// many, those do whose hostnames overlap: what one would serve of another's hosts is still left to that one.
func TestMisdirectedAmongMany(t *testing.T) {
	const many = maxForeign + 20
	for _, c := range []struct {
		listeners int
		wild      bool
		listener  int
		want      int
	}{
		{10, false, 0, 10}, // The nine others and the Gateway's.
		{10, true, 0, 2},   // The wildcard and the Gateway's.
		{10, true, 10, 11}, // The ten that it covers and the Gateway's.
		{many, false, 0, 0},
		{many, true, 0, 1},
		{many, true, many, many},
	} {
		name := fmt.Sprintf("l%d", c.listener)
		if got := misdirectedOn(t, c.listeners, c.wild)[name]; got != c.want {
			t.Errorf("%d listeners, with a wildcard: %t: %s answers 421 to %d hosts, want %d", c.listeners, c.wild, name, got,
				c.want)
		}
	}
}
