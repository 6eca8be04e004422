package translator

import (
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/verdict"
)

// problemsOf are all that the statuses of an outcome tell.
func problemsOf(o Outcome) (all []verdict.Problem) {
	for _, s := range o.Statuses {
		all = append(all, s.Problems...)
	}
	return all
}

// TestSecretsOfNobodyAreNotParsed: a cluster has many Secrets that no Gateway refers to, and what is in them costs
// nothing; a reference makes it cost once, whoever else refers to it.
func TestSecretsOfNobodyAreNotParsed(t *testing.T) {
	w := benchWorld(t, 0)
	parsed := func(o Object) int {
		t.Helper()
		if _, err := w.Apply([]Event{{Object: o}}); err != nil {
			t.Fatal(err)
		}
		return computed(w)["certificates"] + computed(w)["CA certificates"]
	}
	unused := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "unused"}, Type: corev1.SecretTypeTLS,
		Data: pairs[0],
	}
	if n := parsed(unused); n != 0 {
		t.Errorf("a Secret of nobody is parsed %d times", n)
	}
	if n := parsed(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "unused"},
		Data:       map[string]string{"ca.crt": string(pairs[0]["tls.crt"])},
	}); n != 0 {
		t.Errorf("a ConfigMap of nobody is parsed %d times", n)
	}
	gateway := benchEvents(0)[1].Object.(*gwapiv1.Gateway).DeepCopy()
	gateway.Name, gateway.UID = "second", "second"
	gateway.Spec.Listeners[1].TLS.CertificateRefs = []gwapiv1.SecretObjectReference{{Name: "tls"}, {Name: "unused"}}
	if n := parsed(gateway); n != 1 {
		t.Errorf("two references, one of them to a Secret that is in use already: %d were parsed, want 1", n)
	}
	set := func(name, parent, secret string) *gwapiv1.ListenerSet {
		s := &gwapiv1.ListenerSet{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name)}}
		s.Spec.ParentRef.Name = gwapiv1.ObjectName(parent)
		s.Spec.Listeners = []gwapiv1.ListenerEntry{{
			Name: "https", Protocol: gwapiv1.HTTPSProtocolType, Port: 443,
			TLS: &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: gwapiv1.ObjectName(secret)}}},
		}}
		return s
	}
	foreign := gateway.DeepCopy()
	foreign.Name, foreign.UID, foreign.Spec.GatewayClassName = "foreign", "foreign", "of-another-controller"
	foreign.Spec.Listeners[1].TLS.CertificateRefs = []gwapiv1.SecretObjectReference{{Name: "huge"}}
	if n := parsed(foreign); n != 0 {
		t.Errorf("a Gateway of another controller has %d Secrets parsed", n)
	}
	if n := parsed(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "huge"}, Type: corev1.SecretTypeTLS,
		Data: pairs[0],
	}); n != 0 {
		t.Errorf("a Secret that only a Gateway of another controller refers to is parsed %d times", n)
	}
	mesh := set("mesh", "m", "huge")
	mesh.Spec.ParentRef.Kind = ptr(gwapiv1.Kind("Mesh"))
	for name, s := range map[string]*gwapiv1.ListenerSet{
		"another controller's Gateway": set("theirs", "foreign", "huge"),
		"no Gateway":                   set("nobodys", "nowhere", "huge"), "another kind": mesh,
	} {
		if n := parsed(s); n != 0 {
			t.Errorf("a ListenerSet of %s has %d Secrets parsed", name, n)
		}
	}
	if n := parsed(set("ours", "second", "huge")); n != 1 {
		t.Errorf("a ListenerSet of a Gateway of ours has %d Secrets parsed, want 1", n)
	}
}

// TestHugeKeysCostNothing: twenty Secrets with keys of 400 KB, each used by a listener, hold nobody up.
func TestHugeKeysCostNothing(t *testing.T) {
	number := make([]byte, 300<<10)
	_, _ = rand.Read(number) // Never fails.
	// A sequence of a version and a modulus, which is all that is read of an RSA key to know its length.
	der := append([]byte{
		0x30, 0x83, byte((len(number) + 8) >> 16), byte((len(number) + 8) >> 8 & 0xff),
		byte((len(number) + 8) & 0xff), 2, 1, 0, 2, 0x83, byte(len(number) >> 16), byte(len(number) >> 8 & 0xff),
		byte(len(number) & 0xff),
	}, number...)
	huge := maps.Clone(pairs[0])
	huge["tls.key"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})
	gateway := benchEvents(0)[1].Object.(*gwapiv1.Gateway).DeepCopy()
	gateway.Generation, gateway.Spec.Listeners = 2, gateway.Spec.Listeners[:1]
	events := append(benchEvents(0), Event{Object: gateway})
	for i := range 20 {
		name := fmt.Sprintf("huge-%d", i)
		gateway.Spec.Listeners = append(gateway.Spec.Listeners, gwapiv1.Listener{
			Name: gwapiv1.SectionName(name), Protocol: gwapiv1.HTTPSProtocolType, Port: 443,
			Hostname: ptr(gwapiv1.Hostname(name + ".example.com")),
			TLS:      &gwapiv1.ListenerTLSConfig{CertificateRefs: []gwapiv1.SecretObjectReference{{Name: gwapiv1.ObjectName(name)}}},
		})
		events = append(events, Event{Object: &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name},
			Type:       corev1.SecretTypeTLS, Data: huge,
		}})
	}
	w := newWorld(t)
	start := time.Now()
	outcome, err := w.Apply(events)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	told := 0
	for _, p := range problemsOf(outcome) {
		if strings.Contains(p.Message, "bytes, and at most 16384 are taken") {
			told++
		}
	}
	if told != 20 {
		t.Errorf("%d of 20 are told of their size", told)
	}
}
