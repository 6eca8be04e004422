package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"gatehouse/tests/cluster/node/sandbox/inside"
)

// Process is a container that runs or has run.
type Process struct {
	cmd     *exec.Cmd
	control *net.UnixConn
	done    chan struct{}
	exit    int

	mu      sync.Mutex
	send    *json.Encoder
	last    int
	waiting map[int]chan inside.Reply
}

// Output is where a container's standard streams go. Both files may be the same.
type Output struct {
	Stdout, Stderr *os.File
}

// Start runs a container in a pod's network. It returns when the command has been started, or with the reason why it
// could not be, in which case nothing of it is left.
func (h *Host) Start(n *Network, s Spec, out Output) (*Process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{inside.Name}, Env: []string{},
		Stdout: out.Stdout, Stderr: out.Stderr, ExtraFiles: []*os.File{theirs},
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
			Pdeathsig:  unix.SIGKILL,
			Setsid:     true,
		},
	}
	err = h.within(n.ns, cmd.Start)
	err = errors.Join(err, theirs.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the container's init: %w", err), ours.Close())
	}
	p := &Process{
		cmd: cmd, control: ours, done: make(chan struct{}), send: json.NewEncoder(ours),
		waiting: map[int]chan inside.Reply{},
	}
	return p, p.begin(s)
}

// Done is closed when the container has ended and Exit is valid.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit returns the exit code after Done: that of the command, or 128 plus the signal that ended it.
func (p *Process) Exit() int { return p.exit }

// Terminate asks the container's command to end (SIGTERM).
func (p *Process) Terminate() error { return p.signal(unix.SIGTERM) }

// Kill ends every process of the container at once.
func (p *Process) Kill() error { return p.signal(unix.SIGKILL) }

// begin hands the Spec to the init, waits for its answer and then serves the connection in the background.
func (p *Process) begin(s Spec) error {
	receive := json.NewDecoder(p.control)
	var first inside.Reply
	err := p.send.Encode(s)
	if err == nil {
		err = receive.Decode(&first)
	}
	if err == nil && first.Error != "" {
		err = errors.New(first.Error)
	}
	go p.wait()
	if err != nil {
		err = errors.Join(fmt.Errorf("start container: %w", err), p.signal(unix.SIGKILL))
		<-p.done
		return err
	}
	go p.receive(receive)
	return nil
}

// receive hands each answer to the caller that waits for it, until the container ends.
func (p *Process) receive(from *json.Decoder) {
	for {
		var r inside.Reply
		if from.Decode(&r) != nil {
			return // The init has ended; Done says so to every caller.
		}
		p.mu.Lock()
		if answer, ok := p.waiting[r.ID]; ok {
			delete(p.waiting, r.ID)
			answer <- r
		}
		p.mu.Unlock()
	}
}

func (p *Process) wait() {
	err := p.cmd.Wait()
	p.exit = p.cmd.ProcessState.ExitCode()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		p.exit = 128 + int(status.Signal())
	}
	if p.exit < 0 || (err != nil && p.exit == 0) {
		p.exit = 255
	}
	_ = p.control.Close() // Nobody reads or writes it any more.
	close(p.done)
}

func (p *Process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to the container: %w", s, err)
	}
	return nil
}

// socketPair returns a connection and the file of its other end, neither of which other children inherit.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	conn, err := net.FileConn(ours)
	err = errors.Join(err, ours.Close())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("use a socket pair: %w", err), theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil //nolint:forcetypeassert // That is what a Unix socket is.
}

// nsHandle is the form in which the netlink library takes a namespace.
func nsHandle(f *os.File) netns.NsHandle { return netns.NsHandle(int(f.Fd())) }
