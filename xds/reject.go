package xds

import (
	"slices"
	"strings"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"gatehouse/translator"
)

// rejection is a version that the proxy rejected, and the proxy's message.
type rejection struct {
	version, words string
}

// reject handles a NACK. Envoy answers for a whole response: the resources that its message names are rejected, and the
// others are sent again without them. If the message names none, they are tried by halves. A rejected version is not
// sent again unless the proxy requests it.
func (s *session) reject(r *response, message string) {
	sub := r.subscription
	message = words(message)
	s.retryRemovals(r)
	var names []string
	standing := map[string]bool{}
	for _, res := range r.resources {
		names = append(names, res.Name)
		h := sub.have[res.Name]
		standing[res.Name] = h != nil && h.sent == res
	}
	blamed := blame(message, names)
	if len(names) == 1 {
		blamed = map[string]string{names[0]: message}
	}
	for _, res := range r.resources {
		if words, ok := blamed[res.Name]; ok && standing[res.Name] {
			s.rejectResource(sub, res, words, r.seq)
			standing[res.Name] = false
		}
	}
	// Resources that a later response has replaced, or that an earlier answer has judged, need no further trial. The
	// others count as being on the proxy, because Envoy keeps the good clusters and listeners of a response that it
	// rejects.
	names = slices.DeleteFunc(names, func(name string) bool { return !standing[name] })
	switch {
	case len(names) == 0:
	case len(blamed) > 0, len(names) == 1:
		sub.groups = append(sub.groups, names)
	default:
		half := len(names) / 2
		sub.groups = append(sub.groups, names[:half:half], names[half:])
	}
}

func (s *session) rejectResource(sub *subscription, res *translator.Resource, words string, seq uint64) {
	n := nameOf(res)
	if h := sub.have[res.Name]; h.acked == nil {
		delete(sub.have, res.Name)
	} else {
		h.sent = h.acked
	}
	s.rejected[n] = rejection{version: res.Version, words: brief(reason(words, res.Name))}
	s.news = true
	if n.Type == resource.ClusterType {
		s.warmth.drop(n.Name)
		s.foresee(sub, n.Name) // A later version may follow.
	} else {
		s.warmth.done(n, seq, s.now)
	}
	if n.Type == resource.SecretType {
		s.remember(sub, res)
	}
	s.judge(sub, res, words)
}

// retryRemovals schedules the removals of a rejected response again, separately and when they are due. Removals that
// are rejected on their own are impossible and are given up.
func (s *session) retryRemovals(r *response) {
	for _, name := range r.removed {
		h := r.subscription.have[name]
		switch {
		case h == nil:
		case len(r.resources) == 0:
			delete(r.subscription.have, name)
			s.news = true
		case h.sent == nil:
			if !r.subscription.brings { // Envoy removes clusters and listeners even if it rejects the response.
				h.sent = h.acked
			}
			r.subscription.leaving[name] = time.Unix(0, 0)
		}
	}
}

// group returns a response with the next names that must be sent apart, nil if there are none. Resources that have to
// wait for clusters or listeners meanwhile are put back and sent later.
func (s *session) group(sub *subscription, ready bool, now time.Time) *response {
	for len(sub.groups) > 0 {
		r := &response{subscription: sub}
		for _, name := range sub.groups[0] {
			res := s.fleet.resources[sub.url][name]
			if res == nil || !sub.subscribed(name) {
				continue
			}
			if res = s.offered(sub, res); res == nil {
				continue
			}
			m := sub.mark(name)
			m.asked = true
			s.choose(r, m, res, ready, now)
		}
		sub.groups = sub.groups[1:]
		if len(r.resources) > 0 {
			return r
		}
	}
	return nil
}

// words is the message of Envoy without the dump of the resource at its end: a dump may contain keys, intentionally
// differs between builds, and mentions other resources.
func words(message string) string {
	for _, dump := range []string{"goo.gle/debug", "\ntype_url:", "\nvalue:"} {
		message, _, _ = strings.Cut(message, dump)
	}
	return strings.TrimRight(message, ": \n\t")
}

// reason is the part of a message about the resource, without its name. A resource that several objects share, such as
// the listener of a port, has the name of the first of them, which the others need not know.
func reason(message, name string) string {
	if at := mention(message, name); at >= 0 {
		if said, ok := strings.CutPrefix(message[at+len(name):], ": "); ok {
			return said
		}
	}
	return message
}

// briefLimit is the maximum length of a stored message about one resource, in bytes.
const briefLimit = 512

// brief is the beginning of a message.
func brief(message string) string {
	if len(message) <= briefLimit {
		return message
	}
	return strings.ToValidUTF8(message[:briefLimit], "") + "…"
}

// blame finds the names that a message of Envoy is about, each with its part of the message.
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

// mention returns the position of the name as a separate word in a message, or -1.
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
		if (at == 0 || !inName(message[at-1])) && (end == len(message) || !inName(message[end]) ||
			endsSentence(message[end:])) {
			return at
		}
		from = at + 1
	}
}

// inName reports whether a byte can be part of a resource's name.
func inName(b byte) bool {
	return b == '/' || b == '-' || b == '_' || b == '.' ||
		'0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

func endsSentence(rest string) bool {
	return rest[0] == '.' && (len(rest) == 1 || rest[1] == ' ' || rest[1] == '\n')
}
