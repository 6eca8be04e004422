package feature

import (
	"cmp"
	"net/netip"
	"slices"

	"k8s.io/utils/ptr"
)

// Connection is what is known of connections that are forwarded without looking into them.
type Connection struct {
	// Sources are the addresses from which connections may come; nil allows all.
	Sources *Sources
	// HashSource asks that connections from one address go to the same endpoint.
	HashSource bool
	// Retries is how often another endpoint is tried for a connection. It is nil for the default.
	Retries *uint32
	// Unprotected is the field of a part that protects requests and cannot protect connections, so that none may be
	// forwarded. It is empty if there is none.
	Unprotected string
	// StatName is the template of the name under which connections and datagrams are counted (StatName). It is empty for
	// the default.
	StatName string
}

// Add takes over what another policy says about the connections.
func (c *Connection) Add(o Connection) {
	c.Sources, c.Retries = cmp.Or(o.Sources, c.Sources), cmp.Or(o.Retries, c.Retries)
	c.HashSource, c.Unprotected = c.HashSource || o.HashSource, cmp.Or(c.Unprotected, o.Unprotected)
	c.StatName = cmp.Or(o.StatName, c.StatName)
}

// Equal reports whether both say the same.
func (c Connection) Equal(o Connection) bool {
	return c.Sources.Equal(o.Sources) && c.HashSource == o.HashSource && ptr.Equal(c.Retries, o.Retries) &&
		c.Unprotected == o.Unprotected && c.StatName == o.StatName
}

// Sources are the addresses from which connections may come, and those from which they may not. Of ranges that contain
// an address the longest counts; what is in none may not. Both are sorted.
type Sources struct {
	Allowed, Denied []netip.Prefix
}

// Equal compares what the ranges say.
func (s *Sources) Equal(o *Sources) bool {
	if s == nil || o == nil {
		return s == o
	}
	return slices.Equal(s.Allowed, o.Allowed) && slices.Equal(s.Denied, o.Denied)
}
