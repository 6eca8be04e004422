package controller

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// certificateReasons are the reasons of a listener's conditions about certificates that are False, by their types.
func (d *desk) certificateReasons(t *testing.T, o client.Object, listener string) map[string]string {
	t.Helper()
	d.get(t, o.GetName(), o)
	found := map[string]string{}
	for _, l := range listenersOf(o) {
		for _, kind := range []string{"ResolvedRefs", "CertificateCurrent"} {
			if c := meta.FindStatusCondition(l.Conditions, kind); string(l.Name) == listener && c != nil && c.Status == metav1.ConditionFalse {
				found[kind] = c.Reason
			}
		}
	}
	return found
}

// told are the Events about objects of the desk's namespace, as kind, name, reason and message.
func (d *desk) told(t *testing.T) (lines []string) {
	t.Helper()
	var events corev1.EventList
	if err := d.List(t.Context(), &events, client.InNamespace(d.namespace)); err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		lines = append(lines, fmt.Sprintf("%s %s %s %s: %s", e.Type, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message))
	}
	slices.Sort(lines)
	return lines
}

// TestCertificatesAreToldOf: a condition of the listener and an Event tell that a certificate expires soon, and that a
// Secret in use has broken. The condition goes when the certificate is renewed. Other listeners are told nothing, and
// nothing is told twice, nor that a Secret is missing that was never there.
func TestCertificatesAreToldOf(t *testing.T) {
	d := newDesk(t, time.Millisecond, time.Millisecond, 0)
	listener := func(name string, port gwapiv1.PortNumber) gwapiv1.Listener {
		return gwapiv1.Listener{
			Name: gwapiv1.SectionName(name), Protocol: gwapiv1.HTTPSProtocolType, Port: port,
			TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: gwapiv1.ObjectName(name)}}},
		}
	}
	gateway := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "tls", Namespace: d.namespace}, Spec: gwapiv1.GatewaySpec{
		GatewayClassName: gwapiv1.ObjectName(d.namespace), Listeners: []gwapiv1.Listener{listener("other", 443), listener("missing", 8443)},
		AllowedListeners: &gwapiv1.AllowedListeners{Namespaces: &gwapiv1.ListenerNamespaces{From: new(gwapiv1.NamespacesFromSame)}},
	}}
	www := listener("www", 443)
	www.Hostname = new(gwapiv1.Hostname("www.example.com"))
	set := &gwapiv1.ListenerSet{ObjectMeta: metav1.ObjectMeta{Name: "set", Namespace: d.namespace}, Spec: gwapiv1.ListenerSetSpec{
		ParentRef: gwapiv1.ParentGatewayReference{Name: "tls"},
		Listeners: []gwapiv1.ListenerEntry{{Name: www.Name, Protocol: www.Protocol, Port: www.Port, Hostname: www.Hostname, TLS: www.TLS}},
	}}
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	late := certificateUntil(t, time.Now().Add(47*time.Hour))
	used := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "www", Namespace: d.namespace}, Type: corev1.SecretTypeTLS, Data: late}
	d.store(t, used)
	d.store(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: d.namespace}, Type: corev1.SecretTypeTLS, Data: late})
	d.store(t, gateway)
	d.store(t, set)
	expect := func(want map[string]string) {
		t.Helper()
		becomes(t, func() error {
			o := &gwapiv1.ListenerSet{ObjectMeta: metav1.ObjectMeta{Name: "set"}}
			if diff := cmp.Diff(want, d.certificateReasons(t, o, "www")); diff != "" || len(o.Status.Listeners) == 0 {
				return fmt.Errorf("conditions (-want +got):\n%s", diff)
			}
			return nil
		})
	}
	expect(map[string]string{})
	store := func(data map[string][]byte) {
		t.Helper()
		used.Data = data
		d.store(t, used)
	}
	ends := certificateUntil(t, soon)
	store(ends)
	expect(map[string]string{"CertificateCurrent": "CertificateExpiresSoon"})
	store(late)
	expect(map[string]string{})
	store(ends)
	expect(map[string]string{"CertificateCurrent": "CertificateExpiresSoon"})
	broken := map[string][]byte{corev1.TLSCertKey: ends[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: late[corev1.TLSPrivateKeyKey]}
	store(broken)
	expect(map[string]string{"ResolvedRefs": "InvalidCertificateRef"})
	store(late)
	expect(map[string]string{})
	const at = "listener www: spec.listeners[0].tls.certificateRefs[0]: Secret "
	want := []string{
		"Warning ListenerSet set CertificateExpiresSoon: " + at + d.namespace + "/www has a certificate that expires soon, at " +
			soon.UTC().Format(time.RFC3339) + ": issue a new one",
		"Warning ListenerSet set InvalidCertificateRef: " + at + d.namespace +
			"/www has a tls.key that does not belong to the certificate in tls.crt: store the two of one issuance",
	}
	becomes(t, func() error {
		if diff := cmp.Diff(want, d.told(t)); diff != "" {
			return fmt.Errorf("events (-want +got):\n%s", diff)
		}
		return nil
	})
}
