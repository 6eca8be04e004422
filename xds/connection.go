package xds

import (
	"net"
	"time"
)

const (
	// strangerSize is what a connection counts for until it has proved who holds it: the buffers of TLS and HTTP/2, the headers of a call, and what
	// the window of a call lets in that nobody reads.
	strangerSize = 256 << 10
	// proveLimit is how long a connection may be open until it has proved who holds it.
	proveLimit = 30 * time.Second
	// farewell is how long a connection that the server ends stays open, so that its peer can read why.
	farewell = time.Second
	// writeLimit is how long the peer's network may take no byte of what is written.
	writeLimit = 30 * time.Second
	// trickle is how many bytes a second are not counted, since pings and the like belong to no request. What a slow sender gets past the count
	// by it is 3.5 MiB in the hour that a token is good for.
	trickle = 1 << 10
)

// connection is a peer's connection, and what it takes. It counts until it is closed and nothing serves it any more.
type connection struct {
	net.Conn
	peers *peers
	// over gets why the server ends the connection.
	over chan error
	// proving ends the connection unless it has proved who holds it.
	proving *time.Timer

	// The mutex of the peers guards what follows.

	// number counts the connections in the order in which they came.
	number int
	// who answers for what the connection takes: the subject that holds it; the host of its address before that is known.
	who string
	// holder has proved that it holds the connection; it is empty before.
	holder string
	// users are the transport, until it closes the connection, and the goroutines of the call.
	users int
	// killed says that the connection is closed to free memory, closed that the transport has closed it.
	killed, closed bool
	// read is how many bytes have come since the last request was complete, as of readAt.
	read   int
	readAt time.Time
	// decoded is how many bytes those requests take that are being decoded or handled.
	decoded int
	// named is how many bytes the names of the stream take beyond those that it may have for nothing.
	named int
	// unsent is how many bytes of responses the peer has not taken yet.
	unsent int
	// counted is the size that the total of the peers has.
	counted int
}

// size is how many bytes the connection counts for.
func (c *connection) size() int {
	if c.killed || c.users == 0 {
		return 0
	}
	size := c.read + c.decoded + c.named + c.unsent
	if c.holder == "" {
		size += strangerSize
	}
	return size
}

// change has f change what the connection takes, and ends connections if all of them take too much then.
func (c *connection) change(f func()) {
	c.peers.mu.Lock()
	f()
	c.peers.recount(c)
	ended := c.peers.relieve()
	c.peers.mu.Unlock()
	for _, e := range ended {
		if e.holder != "" { // Nothing changes it any more.
			c.peers.log.Info("ended a connection, since all of them take too much memory", "subject", e.who)
		}
		e.kill()
	}
}

// Read counts what comes.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.change(func() {
		now := time.Now()
		c.read = max(0, c.read-int(now.Sub(c.readAt).Seconds()*trickle)) + n
		c.readAt = now
	})
	return n, err
}

// Write counts what goes. The connection ends if that takes too long.
func (c *connection) Write(b []byte) (int, error) {
	stalled := time.AfterFunc(writeLimit, c.kill)
	defer stalled.Stop()
	n, err := c.Conn.Write(b)
	c.change(func() { c.unsent = max(0, c.unsent-n) })
	return n, err
}

// Close is called by the transport.
func (c *connection) Close() error {
	err := c.Conn.Close()
	c.change(func() {
		if !c.closed {
			c.closed = true
			c.leave()
		}
	})
	return err
}

// RemoteAddr leads back to the connection, see connectionOf.
func (c *connection) RemoteAddr() net.Addr { return &address{c.Conn.RemoteAddr(), c} }

// take counts a request that is about to be decoded. It reports whether the connection goes on.
func (c *connection) take(in *incoming) (goesOn bool) {
	c.change(func() { c.decoded += in.wire + in.size })
	c.peers.mu.Lock()
	defer c.peers.mu.Unlock()
	return !c.killed
}

// received notes that a request is decoded.
func (c *connection) received(in *incoming) {
	c.change(func() {
		c.read = 0
		c.decoded = max(0, c.decoded-in.wire)
	})
}

// handled notes that a request is handled, and how many bytes the names of the stream take since beyond those that it may have for nothing.
func (c *connection) handled(in *incoming, named int) {
	c.change(func() {
		c.decoded = max(0, c.decoded-in.size) // The peer may have closed the connection meanwhile, see leave.
		c.named = named
	})
}

// serve notes that somebody works for a call until done is called.
func (c *connection) serve() (done func()) {
	c.change(func() { c.users++ })
	return func() { c.change(c.leave) }
}

// leave takes off one of the users. The mutex is held.
func (c *connection) leave() {
	c.users--
	switch c.users {
	case 1: // Of the call nothing is left but what was not sent.
		c.decoded, c.named = 0, 0
	case 0:
		c.peers.forget(c)
	}
}

// end ends the connection with a status for its stream. It never waits, and what the peer has not read by the farewell is lost.
func (c *connection) end(why error) {
	select {
	case c.over <- why:
		time.AfterFunc(farewell, c.kill)
	default: // It ends already.
	}
}

// kill ends the connection at once. The transport finds it closed and ends its calls.
func (c *connection) kill() {
	_ = c.Conn.Close() // There is nobody to tell.
}
