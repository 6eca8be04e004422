package translator

import (
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/api/v1alpha1"
)

// http3Policy is a policy on the Gateway of benchWorld.
func http3Policy() *v1alpha1.ClientTrafficPolicy {
	p := &v1alpha1.ClientTrafficPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "http3", Generation: 1}}
	p.Spec.PolicyTargetReferences = wholeTarget("Gateway", "g")
	p.Spec.HTTP3 = &v1alpha1.HTTP3Settings{}
	return p
}

// TestHTTP3ChangesNothingOverTCP: when HTTP/3 comes and goes, Envoy's listeners for TCP stay as they are, which would
// drain connections otherwise. No route is computed again, only what the routes of the listener have in common.
func TestHTTP3ChangesNothingOverTCP(t *testing.T) {
	w := benchWorld(t, 1000)
	for _, step := range []struct {
		what             string
		deleted          bool
		changed, removed []string
	}{
		{"with HTTP/3", false, []string{"Listener n/g/https-quic", "RouteConfiguration n/g/https", "Secret quic/n/tls"}, nil},
		{"without", true, []string{"RouteConfiguration n/g/https"}, []string{"n/g/https-quic", "quic/n/tls"}},
	} {
		outcome, err := w.Apply([]Event{{Object: http3Policy(), Deleted: step.deleted}})
		if err != nil {
			t.Fatal(err)
		}
		var removed []string
		for _, d := range outcome.Deltas {
			for _, n := range d.Removed {
				removed = append(removed, n.Name)
			}
		}
		slices.Sort(removed)
		if got := changedNames(outcome); !slices.Equal(got, step.changed) || !slices.Equal(removed, step.removed) {
			t.Errorf("%s: changed %v and removed %v, want %v and %v", step.what, got, removed, step.changed, step.removed)
		}
		for table, rows := range computed(w) {
			if rows > 5 {
				t.Errorf("%s: %d rows of %s are computed", step.what, rows, table)
			}
		}
	}
}

// TestRejectedHTTP3: if Envoy rejects the filter chain over QUIC or its certificate there, the listener is served over
// TCP as before, its responses do not offer HTTP/3, and the policy has Envoy's words.
func TestRejectedHTTP3(t *testing.T) {
	for what, rejected := range map[string]Name{
		"filter chain": {typeListener, "n/g/https-quic"},
		"certificate":  {typeSecret, "quic/n/tls"},
	} {
		t.Run(what, func(t *testing.T) { testRejectedHTTP3(t, rejected) })
	}
}

func testRejectedHTTP3(t *testing.T, rejected Name) {
	q := newQuarantined(t, 1)
	tcp, secret, routes := Name{typeListener, "n/g/https"}, Name{typeSecret, "n/tls"}, Name{typeRoutes, "n/g/https"}
	chains, certificate, without := q.latest[tcp], q.latest[secret], q.latest[routes].Version
	q.take(Event{Object: http3Policy()})
	if q.latest[rejected] == nil || q.latest[routes].Version == without {
		t.Fatal("HTTP/3 is not served or not offered")
	}
	q.refuse(q.latest[rejected].Parts()[0].Hash)
	for name := range q.latest {
		if strings.Contains(name.Name, "quic") {
			t.Errorf("%s is still there", name.Name)
		}
	}
	if q.latest[routes].Version != without {
		t.Error("HTTP/3 is still offered")
	}
	if q.latest[tcp] != chains || q.latest[secret] != certificate {
		t.Error("what is served over TCP has changed")
	}
	if said := q.status["n/http3"].encoded; !strings.Contains(said, reasonQUICRejected) ||
		!strings.Contains(said, "it does not please") {
		t.Errorf("the policy says %s", said)
	}
}
