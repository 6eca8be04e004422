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
	// memoryLimit is how many bytes all connections may take (see connection.size), unless Config.Memory says otherwise.
	memoryLimit = 256 << 20
	// connectionsLimit is how many connections a holder may have. An Envoy has one, and a few more until dead ones are found. The latest go on.
	connectionsLimit = 4
	// endingLimit is how many a holder may have together with those that the server ends and that are still there.
	endingLimit = 2 * connectionsLimit
)

// peers are the connections of a server. A connection has one stream at most, so whoever ends it ends all that is held for the stream. All
// connections share the limit of memory. When they take more, one ends of whoever takes the most: who takes little is not
// ended for what others take.
type peers struct {
	limit int
	log   logr.Logger

	mu    sync.Mutex
	count int
	// total is what all of them count for, in bytes.
	total int
	// takers are those who take anything, by name.
	takers map[string]*taker
	// holders have the connections of each holder of a proof, oldest first.
	holders map[string][]*connection
}

// taker is who answers for connections.
type taker struct {
	// total is what the connections count for, in bytes.
	total int
	// connections are those that count for anything.
	connections map[*connection]struct{}
}

func newPeers(limit int, log logr.Logger) *peers {
	return &peers{limit: cmp.Or(limit, memoryLimit), log: log, takers: map[string]*taker{}, holders: map[string][]*connection{}}
}

// accept takes on a connection of which the holder is not known yet.
func (p *peers) accept(plain net.Conn) *connection {
	c := &connection{Conn: plain, peers: p, over: make(chan error, 1), who: hostOf(plain.RemoteAddr())}
	c.proving = time.AfterFunc(proveLimit, c.kill)
	c.change(func() {
		p.count++
		c.number, c.users = p.count, 1
	})
	return c
}

// prove notes who holds a connection. The error is a gRPC status: PermissionDenied if somebody else does, ResourceExhausted if too many connections of
// the holder have not ended yet.
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
			err = status.Errorf(codes.PermissionDenied, "the connection is held by %s; open another one for %s", c.who, id.Subject)
			return
		case len(own) >= endingLimit:
			err = status.Errorf(codes.ResourceExhausted, "the pod has opened %d connections; try again when some have ended", len(own))
			return
		}
		c.proving.Stop()
		p.charge(c, 0) // For who answered for it before.
		c.holder, c.who = holder, id.Subject
		own = append(own, c)
		p.holders[holder] = own
		for _, old := range own[:max(0, len(own)-connectionsLimit)] {
			old.end(status.Errorf(codes.ResourceExhausted, "the pod has opened %d connections; the oldest one ends", len(own)))
		}
	})
	return err
}

// forget is called when nothing serves a connection any more. The mutex is held.
func (p *peers) forget(c *connection) {
	c.proving.Stop()
	own := slices.DeleteFunc(p.holders[c.holder], func(other *connection) bool { return other == c })
	if len(own) == 0 {
		delete(p.holders, c.holder)
	} else {
		p.holders[c.holder] = own
	}
}

// relieve chooses connections to end until the others do not take too much: of whoever takes the most the one that takes the most, of equal
// ones the latest. The mutex is held.
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

// recount counts what the connection takes now. The mutex is held.
func (p *peers) recount(c *connection) { p.charge(c, c.size()) }

// charge has the connection count for a size in bytes. The mutex is held.
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

// address is the peer's address as calls see it. It leads to the connection.
type address struct {
	net.Addr
	connection *connection
}

// connectionOf returns the connection of a call, nil if it did not come by a listener of the peers.
func connectionOf(ctx context.Context) *connection {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(*address); ok {
			return a.connection
		}
	}
	return nil
}

// hostOf is an address without its port.
func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
