package translator

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TestOverlappingCertificatesAreTold: listeners whose certificates have a host in common say so, whatever their
// hostnames are; a few of many are named, and who shares nothing, or shares it on another port, says nothing.
func TestOverlappingCertificatesAreTold(t *testing.T) {
	gateway := benchEvents(0)[1].Object.(*gwapiv1.Gateway)
	gateway.Spec.Listeners = nil
	listen := func(name, host string, port gwapiv1.PortNumber, secret gwapiv1.ObjectName) {
		gateway.Spec.Listeners = append(gateway.Spec.Listeners, gwapiv1.Listener{
			Name: gwapiv1.SectionName(name), Protocol: gwapiv1.HTTPSProtocolType, Port: port,
			Hostname: ptr(gwapiv1.Hostname(host)),
			TLS:      &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: secret}}},
		})
	}
	for i := range 20 {
		listen(fmt.Sprintf("shared-%02d", i), fmt.Sprintf("h%d.example.com", i), 443, "wild")
	}
	listen("exact", "h1.example.net", 443, "exact")
	listen("covering", "h2.example.net", 443, "covering")
	listen("alone", "alone.example.info", 443, "alone")
	listen("elsewhere", "h1.example.com", 8443, "wild")
	events := []Event{benchEvents(0)[0], {Object: gateway}}
	for name, hosts := range map[string][]string{
		"wild": {"*.example.com"}, "exact": {"h1.example.net"},
		"covering": {"*.example.net"}, "alone": {"alone.example.info"},
	} {
		events = append(events, Event{Object: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name},
			Type:       corev1.SecretTypeTLS, Data: newPair(hosts...),
		}})
	}
	w := newWorld(t)
	outcome, err := w.Apply(events)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, s := range outcome.Statuses {
		next, _ := s.Merge(controllerName, s.Object, metav1.Unix(1, 0))
		g, ok := next.(*gwapiv1.Gateway)
		if !ok {
			continue
		}
		for _, l := range g.Status.Listeners {
			for _, c := range l.Conditions {
				if c.Type == string(gwapiv1.ListenerConditionOverlappingTLSConfig) {
					told[string(l.Name)] = c.Reason + ": " + c.Message
				}
			}
		}
	}
	const end = " on port 443; over a connection of this listener no request for a host of theirs is served"
	for name, want := range map[string]string{
		"shared-00": `OverlappingCertificates: certificates overlap with those of listeners ["shared-01" "shared-02" "shared-03" "shared-04"] and others` + end,
		"shared-19": `OverlappingCertificates: certificates overlap with those of listeners ["shared-00" "shared-01" "shared-02" "shared-03"] and others` + end,
		"exact":     `OverlappingCertificates: certificates overlap with those of listeners ["covering"]` + end,
		"covering":  `OverlappingCertificates: certificates overlap with those of listeners ["exact"]` + end,
		"alone":     "",
		"elsewhere": "",
	} {
		if told[name] != want {
			t.Errorf("listener %s says %q, want %q", name, told[name], want)
		}
	}
	if len(told) != 22 || !strings.HasPrefix(told["shared-10"], "OverlappingCertificates: ") {
		t.Errorf("%d listeners say so, want 22", len(told))
	}
}
