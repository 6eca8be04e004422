package xds

import (
	"slices"
	"strings"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// refusal is a version that the proxy refused, and why in its own words.
type refusal struct {
	version, words string
}

// refuse takes a NACK. Envoy answers for a whole response: the resources that its message names are refused, the others are sent
// again without them. A message that names none is traced by halves. A refused version is not sent again unless the proxy asks for it.
func (s *session) refuse(r *response, message string) {
	k := r.kind
	message = words(message)
	s.retryRemovals(r)
	var names []string
	standing := map[string]bool{}
	for _, res := range r.resources {
		names = append(names, res.Name)
		h := k.have[res.Name]
		standing[res.Name] = h != nil && h.sent == res
	}
	blamed := blame(message, names)
	if len(names) == 1 {
		blamed = map[string]string{names[0]: message}
	}
	for _, res := range r.resources {
		if words, ok := blamed[res.Name]; ok && standing[res.Name] {
			s.quarantine(k, res, words, r.seq)
			standing[res.Name] = false
		}
	}
	// What a later response has overtaken, or an earlier answer has judged, needs no further trial. The others count as being on
	// the proxy, since Envoy takes the good clusters and listeners of a response that it refuses.
	names = slices.DeleteFunc(names, func(name string) bool { return !standing[name] })
	switch {
	case len(names) == 0:
	case len(blamed) > 0, len(names) == 1:
		k.groups = append(k.groups, names)
	default:
		half := len(names) / 2
		k.groups = append(k.groups, names[:half:half], names[half:])
	}
}

func (s *session) quarantine(k *kind, res *translator.Resource, words string, seq uint64) {
	n := nameOf(res)
	if h := k.have[res.Name]; h.acked == nil {
		delete(k.have, res.Name)
	} else {
		h.sent = h.acked
	}
	s.refused[n] = refusal{version: res.Version, words: brief(reason(words, res.Name))}
	s.news = true
	if n.Type == resource.ClusterType {
		s.warmth.drop(n.Name)
		s.foresee(k, n.Name) // A later version may be on its way.
	} else {
		s.warmth.settled(n, seq)
	}
	if n.Type == resource.SecretType {
		s.remember(k, res)
	}
	s.judge(k, res, words)
}

// retryRemovals has the removals of a refused response sent again, on their own as they are due. Removals that are refused on their own
// cannot be had and are given up.
func (s *session) retryRemovals(r *response) {
	for _, name := range r.removed {
		h := r.kind.have[name]
		switch {
		case h == nil:
		case len(r.resources) == 0:
			delete(r.kind.have, name)
			s.news = true
		case h.sent == nil:
			if !r.kind.brings { // Of clusters and listeners Envoy takes removals in spite of a refusal.
				h.sent = h.acked
			}
			r.kind.leaving[name] = time.Unix(0, 0)
		}
	}
}

// group returns a response of the next names that must be sent apart, nil if there are none. What has come to wait for clusters or listeners
// meanwhile is put back and sent when they are there.
func (s *session) group(k *kind, settled bool, now time.Time) *response {
	for len(k.groups) > 0 {
		r := &response{kind: k}
		for _, name := range k.groups[0] {
			res := s.fleet.resources[k.url][name]
			if res == nil || !k.subscribed(name) {
				continue
			}
			if res = s.offered(k, res); res == nil {
				continue
			}
			m := k.mark(name)
			m.asked = true
			s.choose(r, m, res, settled, now)
		}
		k.groups = k.groups[1:]
		if len(r.resources) > 0 {
			return r
		}
	}
	return nil
}

// words is what a message of Envoy says without the dump of the resource that it may end with: a dump may hold keys, differs from
// build to build on purpose, and mentions other resources.
func words(message string) string {
	for _, dump := range []string{"goo.gle/debug", "\ntype_url:", "\nvalue:"} {
		message, _, _ = strings.Cut(message, dump)
	}
	return strings.TrimRight(message, ": \n\t")
}

// reason is what a message says of the resource, without the name. A resource that several objects share, such as the listener of a port, is named
// after the first of them, which the others need not know.
func reason(message, name string) string {
	if at := mention(message, name); at >= 0 {
		if said, ok := strings.CutPrefix(message[at+len(name):], ": "); ok {
			return said
		}
	}
	return message
}

// briefLimit is how much is kept of what Envoy says of one resource, in bytes.
const briefLimit = 512

// brief is the beginning of a message.
func brief(message string) string {
	if len(message) <= briefLimit {
		return message
	}
	return strings.ToValidUTF8(message[:briefLimit], "") + "…"
}

// blame finds which of the names a message of Envoy is about, with the part of the message that is about each.
func blame(message string, names []string) map[string]string {
	type place struct {
		at   int
		name string
	}
	var places []place
	for _, name := range names {
		if at := mention(message, name); at >= 0 {
			places = append(places, place{at, name})
		}
	}
	if len(places) == 0 {
		return nil
	}
	slices.SortFunc(places, func(a, b place) int { return a.at - b.at })
	blamed := make(map[string]string, len(places))
	for i, p := range places {
		if len(places) == 1 {
			blamed[p.name] = message
			break
		}
		end := len(message)
		if i+1 < len(places) {
			end = places[i+1].at
		}
		blamed[p.name] = strings.TrimRight(message[p.at:end], ", \n\t'\"")
	}
	return blamed
}

// mention returns where a message has the name as a word of its own, or -1.
func mention(message, name string) int {
	if name == "" {
		return -1
	}
	for from := 0; ; {
		at := strings.Index(message[from:], name)
		if at < 0 {
			return -1
		}
		at += from
		end := at + len(name)
		if (at == 0 || !inName(message[at-1])) && (end == len(message) || !inName(message[end]) || endsSentence(message[end:])) {
			return at
		}
		from = at + 1
	}
}

// inName tells whether a byte can be part of a resource's name.
func inName(b byte) bool {
	return b == '/' || b == '-' || b == '_' || b == '.' ||
		'0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

func endsSentence(rest string) bool {
	return rest[0] == '.' && (len(rest) == 1 || rest[1] == ' ' || rest[1] == '\n')
}
