package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options chooses what of a log is read.
type Options struct {
	// Follow goes on until the log is complete or the reader's context ends.
	Follow bool
	// Tail is how many of the last lines to begin with; negative means all.
	Tail int64
	// Since leaves out older lines.
	Since time.Time
	// Timestamps puts each line's time before it.
	Timestamps bool
	// Limit is the most bytes to be written; 0 means no limit.
	Limit int64
	// Stream is stdout or stderr; empty means both.
	Stream string
}

// errLimit ends a reading that has written as much as it may.
var errLimit = errors.New("the limit of bytes is reached")

// Read writes the chosen part of the log to w. If w can be flushed, it is after each batch of lines.
func (f *File) Read(ctx context.Context, w io.Writer, o Options) error {
	lines := &reader{out: w, o: o}
	defer lines.close()
	err := lines.begin(f)
	for err == nil {
		now := f.state() // Asked before reading, so that no change is missed.
		if err = lines.drain(); err != nil {
			break
		}
		if now.part != lines.part {
			lines.part = now.part
			err = lines.open(f.path)
			continue
		}
		if flusher, ok := w.(interface{ Flush() }); ok {
			flusher.Flush()
		}
		if !o.Follow || now.closed {
			return nil
		}
		select {
		case <-now.changed:
		case <-ctx.Done():
			return nil
		}
	}
	if errors.Is(err, errLimit) {
		return nil
	}
	return fmt.Errorf("copy log: %w", err)
}

// reader turns stored lines into what was asked for.
type reader struct {
	file    *os.File
	in      *bufio.Reader
	part    int
	out     io.Writer
	o       Options
	half    []byte
	within  bool // the line before was a part of one that goes on
	written int64
}

// begin opens the log where the reading begins: at the last lines, or with the oldest that is kept.
func (r *reader) begin(f *File) error {
	now := f.state()
	r.part = now.part
	if r.o.Tail < 0 && now.part > 0 && r.open(f.before()) == nil {
		r.part-- // The current part is next.
		return nil
	}
	if err := r.open(f.path); err != nil || r.o.Tail < 0 {
		return err
	}
	if err := seekTail(r.file, r.o.Tail); err != nil {
		return fmt.Errorf("find the last %d lines: %w", r.o.Tail, err)
	}
	return nil
}

func (r *reader) open(path string) error {
	r.close()
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	r.file, r.in = file, bufio.NewReader(file)
	return nil
}

func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close() // It was only read.
	}
}

// drain copies all complete lines that are there.
func (r *reader) drain() error {
	for {
		text, err := r.in.ReadBytes('\n')
		r.half = append(r.half, text...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		line := r.half
		r.half = nil
		if err := r.put(line); err != nil {
			return err
		}
	}
}

func (r *reader) put(line []byte) error {
	at, rest, _ := bytes.Cut(line, []byte(" "))
	stream, rest, _ := bytes.Cut(rest, []byte(" "))
	tag, text, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return fmt.Errorf("line %q is not in the log's format", line)
	}
	begins := !r.within
	r.within = string(tag) == "P"
	if r.within {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	if r.o.Stream != "" && string(stream) != r.o.Stream {
		return nil
	}
	if !r.o.Since.IsZero() {
		when, err := time.Parse(stamp, string(at))
		if err != nil {
			return fmt.Errorf("time of line %q: %w", line, err)
		}
		if when.Before(r.o.Since) {
			return nil
		}
	}
	if r.o.Timestamps && begins {
		text = bytes.Join([][]byte{at, text}, []byte(" "))
	}
	if r.o.Limit > 0 && r.written+int64(len(text)) > r.o.Limit {
		text = text[:r.o.Limit-r.written]
	}
	n, err := r.out.Write(text)
	r.written += int64(n)
	if err == nil && r.o.Limit > 0 && r.written >= r.o.Limit {
		err = errLimit
	}
	return err
}

// seekTail moves to the beginning of the n-th line from the end.
func seekTail(f *os.File, n int64) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	block := make([]byte, 32<<10)
	for end > 0 {
		size := min(int64(len(block)), end)
		end -= size
		if _, err := f.ReadAt(block[:size], end); err != nil {
			return err
		}
		for i := size - 1; i >= 0; i-- {
			if block[i] != '\n' {
				continue
			}
			if n == 0 {
				_, err := f.Seek(end+i+1, io.SeekStart)
				return err
			}
			n--
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
