package xds

import (
	"net"
	"time"
)

const (
	// strangerSize is the counted size of a connection until it is authenticated: the buffers of TLS and HTTP/2, the
	// headers of a call, and the data that the window of a call admits before anybody reads it.
	strangerSize = 256 << 10
	// proveLimit is how long a connection may be open without authentication.
	proveLimit = 30 * time.Second
	// farewell is how long a connection that the server ends stays open, so that its peer can read the reason.
	farewell = time.Second
	// writeLimit is how long the peer's network may accept no byte of a write.
	writeLimit = 30 * time.Second
	// trickle is the number of bytes per second that are not counted, because pings and similar frames belong to no
	// request. A slow sender can use this for 3.5 MiB in the hour in which a token is valid.
	trickle = 1 << 10
)

// connection is a peer's connection and the memory that it uses. It counts until it is closed and nothing serves it any
// more.
type connection struct {
	net.Conn
	peers *peers
	// over receives the reason when the server ends the connection.
	over chan error
	// proving ends the connection unless it is authenticated in time.
	proving *time.Timer

	// The mutex of the peers protects the following fields.

	// number is the position of the connection in the order of arrival.
	number int
	// who is charged for the memory of the connection: the subject that holds it, or the host of its address before the
	// subject is known.
	who string
	// holder is the authenticated holder of the connection; empty before authentication.
	holder string
	// users counts the users of the connection: the transport, until it closes the connection, and the goroutines of
	// the call.
	users int
	// killed reports whether the connection was closed to free memory, closed whether the transport has closed it.
	killed, closed bool
	// read is the number of bytes received since the last complete request, as of readAt.
	read   int
	readAt time.Time
	// decoded is the number of bytes of the requests that are being decoded or handled.
	decoded int
	// named is the number of bytes of the stream's names beyond the free amount.
	named int
	// unsent is the number of bytes of responses that the peer has not accepted yet.
	unsent int
	// counted is the size that is included in the total of the peers.
	counted int
}

// size is the number of bytes that the connection counts for.
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

// change calls f, which changes the counts of the connection, and then ends connections if all together use too much.
func (c *connection) change(f func()) {
	c.peers.mu.Lock()
	f()
	c.peers.recount(c)
	ended := c.peers.relieve()
	c.peers.mu.Unlock()
	for _, e := range ended {
		if e.holder != "" { // Nothing changes it after that.
			c.peers.log.Info("ended a connection, since all of them take too much memory", "subject", e.who)
		}
		e.kill()
	}
}

// Read counts the received bytes.
func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.change(func() {
		now := time.Now()
		c.read = max(0, c.read-int(now.Sub(c.readAt).Seconds()*trickle)) + n
		c.readAt = now
	})
	return n, err
}

// Write counts the sent bytes. The connection ends if writing takes too long.
func (c *connection) Write(b []byte) (int, error) {
	stalled := time.AfterFunc(writeLimit, c.kill)
	defer stalled.Stop()
	n, err := c.Conn.Write(b)
	c.change(func() { c.unsent = max(0, c.unsent-n) })
	return n, err
}

// deliver sends a response of a size in bytes. It waits until the peer has read the previous one; the connection ends if
// that takes too long.
func (c *connection) deliver(size int, late func(), send func() error) error {
	c.change(func() { c.unsent += size })
	stalled := time.AfterFunc(readLimit, func() {
		late()
		c.kill()
	})
	defer stalled.Stop()
	return send()
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

// RemoteAddr returns an address that refers to the connection, see connectionOf.
func (c *connection) RemoteAddr() net.Addr { return &address{c.Conn.RemoteAddr(), c} }

// take counts a request that is about to be decoded. It reports whether the connection may continue.
func (c *connection) take(in *incoming) (goesOn bool) {
	c.change(func() { c.decoded += in.wire + in.size })
	c.peers.mu.Lock()
	defer c.peers.mu.Unlock()
	return !c.killed
}

// received notes that a request has been decoded.
func (c *connection) received(in *incoming) {
	c.change(func() {
		c.read = 0
		c.decoded = max(0, c.decoded-in.wire)
	})
}

// handled notes that a request has been handled. named is the number of bytes of the stream's names beyond the free
// amount.
func (c *connection) handled(in *incoming, named int) {
	c.change(func() {
		c.decoded = max(0, c.decoded-in.size) // The peer may have closed the connection meanwhile, see leave.
		c.named = named
	})
}

// serve notes a goroutine that works for a call until done is called.
func (c *connection) serve() (done func()) {
	c.change(func() { c.users++ })
	return func() { c.change(c.leave) }
}

// leave removes one of the users. The mutex must be held.
func (c *connection) leave() {
	c.users--
	switch c.users {
	case 1: // The rest of the call is only unsent data.
		c.decoded, c.named = 0, 0
	case 0:
		c.peers.forget(c)
	}
}

// end ends the connection with a status for its stream. It never waits. Data that the peer has not read after farewell
// is lost.
func (c *connection) end(why error) {
	select {
	case c.over <- why:
		time.AfterFunc(farewell, c.kill)
	default: // It is already ending.
	}
}

// kill closes the connection immediately. The transport notices this and ends its calls.
func (c *connection) kill() {
	_ = c.Conn.Close() // Nobody can use the error.
}
