package translator

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/policies/certificate"
	"gatehouse/translator/flow"
)

// If hostnames or certificates of two HTTPS listeners on a port overlap, a client may send requests for one of them
// over a connection of the other. Such a request is answered with 421 (see route_misdirected.go), so that HTTP/2 stays
// on; the condition OverlappingTLSConfig reports it (docs/decisions/020-overlapping-certificates.md).

// sharedName is a name on certificates of listeners of one port.
type sharedName struct {
	// Some are the first of the listeners, Count is their number.
	Some  []*listenerRow
	Count int
}

// maxSharing is how many listeners are named; one more is kept, since a listener does not name itself.
const maxSharing = 4

func equalSharedNames(a, b sharedName) bool {
	return a.Count == b.Count && slices.EqualFunc(a.Some, b.Some, func(x, y *listenerRow) bool { return x.Key == y.Key })
}

// certificateNames are the keys with which listeners with overlapping certificates find each other.
func certificateNames(_ string, l *listenerRow) []string {
	if !l.spokenFor() {
		return nil
	}
	keys := make([]string, 0, 2*len(l.Names))
	for _, name := range l.Names {
		keys = append(keys, l.nameKey(name))
		if wildcard := certificate.Wildcard(name); wildcard != "" {
			keys = append(keys, l.belowKey(wildcard))
		}
	}
	return keys
}

// spokenFor reports whether clients may use connections of the listener for hosts of others, because it serves HTTP
// over TLS on its port.
func (l *listenerRow) spokenFor() bool {
	return l.Spec.Protocol == gwapiv1.HTTPSProtocolType && l.onPort()
}

// nameKey finds the listeners with a certificate for exactly that name, belowKey those with one for a host that the
// wildcard covers.
func (l *listenerRow) nameKey(name string) string      { return l.portKey() + "|is|" + name }
func (l *listenerRow) belowKey(wildcard string) string { return l.portKey() + "|below|" + wildcard }

func shareName(_ *flow.Read, _ string, members []flow.Row[*listenerRow]) (sharedName, bool) {
	shared := sharedName{Count: len(members)}
	for _, m := range members[:min(len(members), maxSharing+1)] {
		shared.Some = append(shared.Some, m.Value)
	}
	return shared, true
}

// sharing are some of the other listeners of the port with a certificate that overlaps with one of this listener's, in
// words.
func (t *Tables) sharing(r *flow.Read, l *listenerRow) (names []string, more bool) {
	if !l.spokenFor() {
		return nil, false
	}
	for _, name := range l.Names {
		keys := []string{l.nameKey(name)}
		if wildcard := certificate.Wildcard(name); wildcard != "" {
			keys = append(keys, l.nameKey(wildcard))
		} else {
			keys = append(keys, l.belowKey(name))
		}
		for _, key := range keys {
			shared, _ := t.sharedNames.Get(r, key)
			for _, o := range shared.Some {
				if o.Key != l.Key {
					names = append(names, l.nameBeside(o.entryRow))
				}
			}
			more = more || shared.Count > len(shared.Some)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxSharing {
		return names[:maxSharing], true
	}
	return names, more
}

// overlapping is the condition of a listener whose hostname or certificates overlap with those of others, nil if none
// does.
func (t *Tables) overlapping(r *flow.Read, l *listenerRow) *metav1.Condition {
	if l.Spec.Protocol != gwapiv1.HTTPSProtocolType {
		return nil
	}
	c := &metav1.Condition{Type: string(gwapiv1.ListenerConditionOverlappingTLSConfig), Status: metav1.ConditionTrue}
	var words []string
	if names, more := t.sharing(r, l); len(names) > 0 {
		c.Reason = string(gwapiv1.ListenerReasonOverlappingCertificates)
		others := fmt.Sprintf("%q", names)
		if more {
			others += " and others"
		}
		words = append(words, fmt.Sprintf("certificates overlap with those of listeners %s", others))
	}
	if names := t.overlappingHostnames(r, l); len(names) > 0 {
		if c.Reason == "" {
			c.Reason = string(gwapiv1.ListenerReasonOverlappingHostnames)
		}
		words = append(words, fmt.Sprintf("hostname %q overlaps with those of listeners %q", l.hostname(), names))
	}
	if len(words) == 0 {
		return nil
	}
	c.Message = fmt.Sprintf("%s on port %d; over a connection of this listener no request for a host of theirs is served",
		strings.Join(words, ", and "), l.Spec.Port)
	return c
}

// overlappingHostnames names the other listeners with a hostname that overlaps with this listener's.
func (t *Tables) overlappingHostnames(r *flow.Read, l *listenerRow) (names []string) {
	for _, o := range t.overlapped(r, l) {
		// Protocol TLS has no requests.
		if o.Value.hostname() != l.hostname() && o.Value.Spec.Protocol == gwapiv1.HTTPSProtocolType {
			names = append(names, l.nameBeside(o.Value.entryRow))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
