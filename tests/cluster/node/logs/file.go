// Package logs keeps what containers print and serves it to kubectl logs.
package logs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// File is the log of one run of a container, complete once Wait has returned. When it has grown beyond a limit, it
// starts again, and only the last part of what was before is kept. A line on disk has four fields: a time, the name of
// the stream, F or P (P if the text does not end the line), and the text. Container runtimes have the same format.
type File struct {
	path string

	mu      sync.Mutex
	out     *os.File
	size    int64
	part    int // how often the file has started again
	changed chan struct{}
	closed  bool
	streams sync.WaitGroup
}

// lineLimit is the most of one line that is kept in one piece, in bytes.
const lineLimit = 16 << 10

// partLimit is how large a log grows before it starts again, in bytes.
var partLimit int64 = 64 << 20

// stamp is the time format of a line.
const stamp = "2006-01-02T15:04:05.000000000Z07:00"

// Create makes an empty log.
func Create(path string) (*File, error) {
	out, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("make log: %w", err)
	}
	return &File{path: path, out: out, changed: make(chan struct{})}, nil
}

// Stream returns a pipe, everything written to which is logged under the stream's name. The caller hands it to the
// container and closes it.
func (f *File) Stream(name string) (*os.File, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe for %s: %w", name, err)
	}
	f.streams.Go(func() {
		f.copy(read, name)
		_ = read.Close() // Nothing is lost by a failure: all has been read.
	})
	return write, nil
}

// Wait returns when every stream has ended, and closes the log.
func (f *File) Wait() error {
	f.streams.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	close(f.changed)
	return f.out.Close()
}

// Path returns where the log is.
func (f *File) Path() string { return f.path }

func (f *File) copy(from io.Reader, stream string) {
	in := bufio.NewReaderSize(from, lineLimit)
	for {
		text, err := in.ReadSlice('\n')
		if len(text) > 0 {
			f.append(stream, text, text[len(text)-1] != '\n')
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (f *File) append(stream string, text []byte, partial bool) {
	tag := " F "
	if partial {
		tag = " P "
	}
	line := make([]byte, 0, len(stamp)+len(stream)+len(text)+8)
	line = time.Now().UTC().AppendFormat(line, stamp)
	line = append(line, ' ')
	line = append(line, stream...)
	line = append(line, tag...)
	line = append(line, text...)
	if line[len(line)-1] != '\n' {
		line = append(line, '\n')
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size+int64(len(line)) > partLimit {
		f.beginAnew()
	}
	n, err := f.out.Write(line)
	f.size += int64(n)
	if err != nil {
		return // A full disk must not stop the container: its output is lost from here on.
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// beginAnew moves what there is aside. If the file system refuses, the log goes on where it is.
func (f *File) beginAnew() {
	if os.Rename(f.path, f.before()) != nil {
		return
	}
	out, err := os.Create(f.path)
	if err != nil {
		_ = os.Rename(f.before(), f.path)
		return
	}
	_ = f.out.Close() // All that was written is in the file.
	f.out, f.size, f.part = out, 0, f.part+1
}

// before is where the part before the current one is.
func (f *File) before() string { return f.path + ".before" }

// state is what a reader has to know before it reads.
type state struct {
	changed <-chan struct{} // closed at the next change
	closed  bool            // whether there will be none
	part    int
}

func (f *File) state() state {
	f.mu.Lock()
	defer f.mu.Unlock()
	return state{f.changed, f.closed, f.part}
}
