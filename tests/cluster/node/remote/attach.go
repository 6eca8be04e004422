package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"

	"gatehouse/tests/cluster/node/sandbox"
)

// patience is how long output is waited for that children of the command might still write.
const patience = 100 * time.Millisecond

// attach runs a command with files that are connected to the client's streams.
func attach(ctx context.Context, streams map[string]httpstream.Stream, terminal bool,
	run func(sandbox.Streams) (int, error),
) (int, error) {
	connect := pipes
	if terminal {
		connect = pseudoTerminal
	}
	c := &connection{streams: streams}
	defer c.close()
	files, err := connect(c)
	if err != nil {
		return 0, err
	}
	code, err := run(files)
	c.closeGiven()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		c.outputs.Wait()
	}()
	select {
	case <-finished:
	case <-time.After(patience):
	case <-ctx.Done():
	}
	return code, err
}

// connection is the files between a command and its streams.
type connection struct {
	streams map[string]httpstream.Stream
	given   []*os.File // the command's ends
	own     []*os.File
	outputs sync.WaitGroup
}

func (c *connection) closeGiven() {
	for _, f := range c.given {
		_ = f.Close() // The command had its own copies.
	}
	c.given = nil
}

func (c *connection) close() {
	c.closeGiven()
	for _, f := range c.own {
		_ = f.Close() // Ends copies that still wait.
	}
}

// output copies what the command prints to a stream.
func (c *connection) output(to io.Writer, from io.Reader) {
	c.outputs.Go(func() { _, _ = io.Copy(to, from) }) // Either side may end at any time.
}

// pipes connects each stream by a pipe; what the client has not asked for is /dev/null.
func pipes(c *connection) (sandbox.Streams, error) {
	var files sandbox.Streams
	for kind, file := range map[string]**os.File{
		corev1.StreamTypeStdin:  &files.Stdin,
		corev1.StreamTypeStdout: &files.Stdout, corev1.StreamTypeStderr: &files.Stderr,
	} {
		stream := c.streams[kind]
		if stream == nil {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return files, fmt.Errorf("open %s: %w", kind, err)
			}
			c.given = append(c.given, null)
			*file = null
			continue
		}
		read, write, err := os.Pipe()
		if err != nil {
			return files, fmt.Errorf("make a pipe for %s: %w", kind, err)
		}
		if kind == corev1.StreamTypeStdin {
			c.given, c.own, *file = append(c.given, read), append(c.own, write), read
			go input(write, stream)
		} else {
			c.given, c.own, *file = append(c.given, write), append(c.own, read), write
			c.output(stream, read)
		}
	}
	return files, nil
}

// pseudoTerminal connects all streams by one terminal, of the machine's.
func pseudoTerminal(c *connection) (sandbox.Streams, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return sandbox.Streams{}, fmt.Errorf("make a terminal: %w", err)
	}
	c.own = append(c.own, master)
	control, err := master.SyscallConn()
	if err != nil {
		return sandbox.Streams{}, fmt.Errorf("make a terminal: %w", err)
	}
	var number uint32
	var asked error
	err = control.Control(func(fd uintptr) {
		asked = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		if asked == nil {
			number, asked = unix.IoctlGetUint32(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, asked); err != nil {
		return sandbox.Streams{}, fmt.Errorf("make a terminal: %w", err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return sandbox.Streams{}, fmt.Errorf("open the terminal: %w", err)
	}
	c.given = append(c.given, terminal)
	if in := c.streams[corev1.StreamTypeStdin]; in != nil {
		go func() { _, _ = io.Copy(master, in) }() // Ends with the connection.
	}
	if out := c.streams[corev1.StreamTypeStdout]; out != nil {
		c.output(out, master)
	}
	go resize(master, c.streams[corev1.StreamTypeResize])
	return sandbox.Streams{Stdin: terminal, Stdout: terminal, Stderr: terminal, Terminal: true}, nil
}

// resize gives the terminal the sizes that the client tells, until the stream ends.
func resize(master *os.File, sizes io.Reader) {
	control, err := master.SyscallConn()
	if err != nil {
		return // It has been closed.
	}
	for decoder := json.NewDecoder(sizes); ; {
		var size struct{ Width, Height uint16 }
		if decoder.Decode(&size) != nil {
			return
		}
		_ = control.Control(func(fd uintptr) { // Fails only when it has been closed.
			_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
		})
	}
}
