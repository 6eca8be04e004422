package xds

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const (
	// memoryLimit is the number of bytes that all connections may use (see connection.size), unless Config.Memory is
	// set.
	memoryLimit = 256 << 20
	// connectionsLimit is the number of connections of a holder. An Envoy has one, and a few more until dead ones are
	// detected. The latest connections stay.
	connectionsLimit = 4
	// endingLimit is the number of connections of a holder including those that the server is ending.
	endingLimit = 2 * connectionsLimit
)

// peers are the connections of a server. A connection has at most one stream, so ending it frees everything that is
// held for the stream. All connections share the memory limit. When they exceed it, the server ends a connection of the
// taker that uses the most: a small user is not ended because of others.
type peers struct {
	limit int
	log   logr.Logger

	mu    sync.Mutex
	count int
	// total is the counted size of all connections, in bytes.
	total int
	// takers are the owners of connections that use memory, by name.
	takers map[string]*taker
	// holders has the connections of each authenticated holder, oldest first.
	holders map[string][]*connection
}

// taker is the owner of connections, which is charged for their memory.
type taker struct {
	// total is the counted size of its connections, in bytes.
	total int
	// connections are the connections with a counted size.
	connections map[*connection]struct{}
}

func newPeers(limit int, log logr.Logger) *peers {
	return &peers{
		limit: cmp.Or(limit, memoryLimit), log: log, takers: map[string]*taker{},
		holders: map[string][]*connection{},
	}
}

// accept adds a connection whose holder is not known yet.
func (p *peers) accept(plain net.Conn) *connection {
	c := &connection{Conn: plain, peers: p, over: make(chan error, 1), who: hostOf(plain.RemoteAddr())}
	c.proving = time.AfterFunc(proveLimit, c.kill)
	c.change(func() {
		p.count++
		c.number, c.users = p.count, 1
	})
	return c
}

// prove notes the holder of a connection. The error is a gRPC status: PermissionDenied if another holder has it,
// ResourceExhausted if too many connections of the holder have not ended yet.
func (p *peers) prove(c *connection, id Identity) (err error) {
	holder := id.holder()
	c.change(func() {
		own := p.holders[holder]
		switch {
		case c.killed:
			err = status.Error(codes.ResourceExhausted, "all connections take too much memory")
			return
		case c.holder == holder:
			return
		case c.holder != "":
			err = status.Errorf(codes.PermissionDenied, "the connection is held by %s: open another one for %s", c.who,
				id.Subject)
			return
		case len(own) >= endingLimit:
			err = status.Errorf(codes.ResourceExhausted, "the pod has opened %d connections: try again when some have ended",
				len(own))
			return
		}
		c.proving.Stop()
		p.charge(c, 0) // Discharges the previous owner.
		c.holder, c.who = holder, id.Subject
		own = append(own, c)
		p.holders[holder] = own
		for _, old := range own[:max(0, len(own)-connectionsLimit)] {
			old.end(status.Errorf(codes.ResourceExhausted, "the pod has opened %d connections; the oldest one ends", len(own)))
		}
	})
	return err
}

// forget is called when nothing serves a connection any more. The mutex must be held.
func (p *peers) forget(c *connection) {
	c.proving.Stop()
	own := slices.DeleteFunc(p.holders[c.holder], func(other *connection) bool { return other == c })
	if len(own) == 0 {
		delete(p.holders, c.holder)
	} else {
		p.holders[c.holder] = own
	}
}

// relieve chooses connections to end until the others fit into the limit: the largest connection of the taker that uses
// the most, and the latest among equal ones. The mutex must be held.
func (p *peers) relieve() (ended []*connection) {
	for p.total > p.limit {
		greatest := 0
		for _, t := range p.takers {
			greatest = max(greatest, t.total)
		}
		var most *connection
		for _, t := range p.takers {
			if t.total < greatest {
				continue
			}
			for c := range t.connections {
				if most == nil || cmp.Or(cmp.Compare(c.counted, most.counted), cmp.Compare(c.number, most.number)) > 0 {
					most = c
				}
			}
		}
		most.killed = true
		p.recount(most)
		ended = append(ended, most)
	}
	return ended
}

// recount updates the counted size of the connection. The mutex must be held.
func (p *peers) recount(c *connection) { p.charge(c, c.size()) }

// charge sets the counted size of the connection in bytes. The mutex must be held.
func (p *peers) charge(c *connection, size int) {
	if size == c.counted {
		return
	}
	t := p.takers[c.who]
	if t == nil {
		t = &taker{connections: map[*connection]struct{}{}}
		p.takers[c.who] = t
	}
	p.total += size - c.counted
	t.total += size - c.counted
	c.counted = size
	if size > 0 {
		t.connections[c] = struct{}{}
		return
	}
	if delete(t.connections, c); len(t.connections) == 0 {
		delete(p.takers, c.who)
	}
}

// listener accepts connections for the peers.
type listener struct {
	net.Listener
	peers *peers
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.peers.accept(c), nil
}

// address is the peer's address for calls. It refers to the connection.
type address struct {
	net.Addr
	connection *connection
}

// connectionOf returns the connection of a call, nil if it did not come from a listener of the peers.
func connectionOf(ctx context.Context) *connection {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(*address); ok {
			return a.connection
		}
	}
	return nil
}

// hostOf returns an address without its port.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
