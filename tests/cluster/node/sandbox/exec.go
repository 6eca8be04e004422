package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"gatehouse/tests/cluster/node/sandbox/inside"
)

// Streams are the standard streams of a command, of which the caller keeps its own copies.
type Streams struct {
	Stdin, Stdout, Stderr *os.File
	// Terminal says that the streams are a terminal, which shall control the command.
	Terminal bool
}

// outputLimit is how much output of a command is kept by Exec, in bytes.
const outputLimit = 10 << 10

// outputPatience is how long Exec waits for output that children of the command might still write.
const outputPatience = 100 * time.Millisecond

// Exec runs another command in the container and returns its exit code and the beginning of its output. It is killed
// when ctx ends. An error means that the command could not be run to its end.
func (p *Process) Exec(ctx context.Context, command []string) (int, string, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, "", fmt.Errorf("open standard input: %w", err)
	}
	defer func() { _ = null.Close() }()
	read, write, err := os.Pipe()
	if err != nil {
		return 0, "", fmt.Errorf("make a pipe: %w", err)
	}
	defer func() { _ = read.Close() }()
	output := make(chan string, 1)
	go func() {
		kept, _ := io.ReadAll(io.LimitReader(read, outputLimit)) // Ends when the pipe is closed.
		output <- string(kept)
		_, _ = io.Copy(io.Discard, read)
	}()
	code, err := p.Run(ctx, command, Streams{Stdin: null, Stdout: write, Stderr: write})
	_ = write.Close() // The command had its own copy.
	select {
	case kept := <-output:
		return code, kept, err
	case <-time.After(outputPatience):
		return code, "", err
	}
}

// Run runs another command in the container and returns its exit code. It is killed when ctx ends. An error means that
// the command could not be run to its end.
func (p *Process) Run(ctx context.Context, command []string, s Streams) (int, error) {
	id, answer, err := p.ask(command, s)
	if err != nil {
		return 0, fmt.Errorf("run %q in the container: %w", command, err)
	}
	select {
	case r := <-answer:
		if r.Error != "" {
			return 0, fmt.Errorf("run %q in the container: %s", command, r.Error)
		}
		return r.Exit, nil
	case <-p.done:
		return 0, fmt.Errorf("run %q in the container: the container ended", command)
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.waiting, id)
		return 0, errors.Join(fmt.Errorf("run %q in the container: %w", command, ctx.Err()),
			p.send.Encode(inside.Request{ID: id, Cancel: true}))
	}
}

// ask sends a request and returns its ID and where the answer will come.
func (p *Process) ask(command []string, s Streams) (int, chan inside.Reply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	message, err := json.Marshal(inside.Request{ID: p.last, Command: command, Terminal: s.Terminal})
	if err != nil {
		return 0, nil, fmt.Errorf("encode request: %w", err)
	}
	answer := make(chan inside.Reply, 1)
	p.waiting[p.last] = answer
	rights := unix.UnixRights(int(s.Stdin.Fd()), int(s.Stdout.Fd()), int(s.Stderr.Fd()))
	n, _, err := p.control.WriteMsgUnix(message, rights, nil)
	if err == nil && n < len(message) {
		_, err = p.control.Write(message[n:])
	}
	if err != nil {
		delete(p.waiting, p.last)
	}
	return p.last, answer, err
}
