package inside

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Name is the name by which the program knows that it is to be a container's init.
const Name = "gatehouse-container-init"

// outputLimit is how much output of a command run by Exec is kept, in bytes.
const outputLimit = 10 << 10

func init() { Init() }

// Init does a container's work if the process was started for that, and then does not return. The package calls it
// itself, before packages that sort after it are initialised; a program may call it again to show what it does.
func Init() {
	if len(os.Args) > 0 && os.Args[0] == Name {
		os.Exit(serveContainer(os.NewFile(3, "control")))
	}
}

// reaper is what a container's PID 1 knows of its children.
type reaper struct {
	mu    sync.Mutex
	exits map[int]chan int
}

// serveContainer builds the root, starts the command and serves requests until the command ends. It returns its exit
// code; all other processes end with this one.
func serveContainer(control *os.File) int {
	unix.CloseOnExec(int(control.Fd()))
	receive, send := json.NewDecoder(control), &replies{to: json.NewEncoder(control)}
	var s Spec
	if err := receive.Decode(&s); err != nil {
		return 255 // The agent is gone: there is nobody to tell.
	}
	terminate := make(chan os.Signal, 4)
	signal.Notify(terminate, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	r := &reaper{exits: map[int]chan int{}}
	pid, exited, err := r.begin(&s)
	if err != nil {
		send.put(Reply{Error: err.Error()})
		time.Sleep(time.Second) // The agent kills this process once it has read the reason.
		return 128
	}
	send.put(Reply{})
	go r.reap()
	go r.serve(&s, receive, send)
	for {
		select {
		case sig := <-terminate:
			if sig, ok := sig.(syscall.Signal); ok {
				_ = unix.Kill(pid, sig) // Fails only when the command has just ended, which is seen below.
			}
		case code := <-exited:
			return code
		}
	}
}

func (r *reaper) begin(s *Spec) (int, chan int, error) {
	if err := buildRoot(s); err != nil {
		return 0, nil, err
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return 0, nil, fmt.Errorf("set host name %q: %w", s.Hostname, err)
	}
	for _, stream := range []int{1, 2} {
		// The command may open /dev/stdout anew, which asks for the owner's permission also on a pipe.
		if err := unix.Fchown(stream, int(s.UID), int(s.GID)); err != nil {
			return 0, nil, fmt.Errorf("give standard stream %d to user %d: %w", stream, s.UID, err)
		}
	}
	return r.run(s, s.Command, os.Stdout, os.Stderr)
}

// run starts a command and returns its PID and where its exit code will come.
func (r *reaper) run(s *Spec, command []string, stdout, stderr *os.File) (int, chan int, error) {
	env := s.environ()
	if err := os.Setenv("PATH", lookup(env, "PATH")); err != nil {
		return 0, nil, fmt.Errorf("set PATH: %w", err)
	}
	path, err := exec.LookPath(command[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return 0, nil, fmt.Errorf("find program %q: %w", command[0], err)
	}
	null, err := os.Open("/dev/null")
	if err != nil {
		return 0, nil, fmt.Errorf("open standard input: %w", err)
	}
	defer func() { _ = null.Close() }()
	attr := &syscall.ProcAttr{Dir: "/", Env: env, Files: []uintptr{null.Fd(), stdout.Fd(), stderr.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}}
	if s.WorkingDir != "" {
		attr.Dir = s.WorkingDir
	}
	if s.UID != 0 || s.GID != 0 || len(s.Groups) > 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: s.UID, Gid: s.GID, Groups: s.Groups}
	}
	r.mu.Lock() // The reaper must find the entry even if the command ends at once.
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, command, attr)
	if err != nil {
		return 0, nil, fmt.Errorf("start program %s: %w", path, err)
	}
	exited := make(chan int, 1)
	r.exits[pid] = exited
	return pid, exited, nil
}

// reap collects every child, also those that were orphaned into this namespace, until none is left.
func (r *reaper) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return // No child is left: the container's own command has ended and been reported.
		}
		code := status.ExitStatus()
		if status.Signaled() {
			code = 128 + int(status.Signal())
		}
		r.mu.Lock()
		if exited, ok := r.exits[pid]; ok {
			delete(r.exits, pid)
			exited <- code
		}
		r.mu.Unlock()
	}
}

// serve runs the commands that the agent asks for.
func (r *reaper) serve(s *Spec, receive *json.Decoder, send *replies) {
	running := map[int]chan struct{}{}
	for {
		var q Request
		if receive.Decode(&q) != nil {
			return // The agent is gone, and its parent-death signal is on the way.
		}
		if q.Cancel {
			if cancel, ok := running[q.ID]; ok {
				delete(running, q.ID)
				close(cancel)
			}
			continue
		}
		cancel := make(chan struct{})
		running[q.ID] = cancel
		go func() { send.put(r.execute(s, q, cancel)) }()
	}
}

func (r *reaper) execute(s *Spec, q Request, cancel <-chan struct{}) Reply {
	read, write, err := os.Pipe()
	if err != nil {
		return Reply{ID: q.ID, Error: err.Error()}
	}
	defer func() { _ = read.Close() }()
	pid, exited, err := r.run(s, q.Command, write, write)
	_ = write.Close() // The command has its own copy.
	if err != nil {
		return Reply{ID: q.ID, Error: err.Error()}
	}
	output := make(chan string, 1)
	go func() {
		kept, _ := io.ReadAll(io.LimitReader(read, outputLimit))
		output <- string(kept)
		_, _ = io.Copy(io.Discard, read)
	}()
	var code int
	select {
	case code = <-exited:
	case <-cancel:
		_ = unix.Kill(-pid, unix.SIGKILL) // The whole session of the command; it fails if that has just ended.
		code = <-exited
	}
	select {
	case kept := <-output:
		return Reply{ID: q.ID, Exit: code, Output: kept}
	case <-time.After(100 * time.Millisecond): // A child of the command keeps the pipe open.
		return Reply{ID: q.ID, Exit: code}
	}
}

// replies lets several goroutines answer on one connection.
type replies struct {
	mu sync.Mutex
	to *json.Encoder
}

func (r *replies) put(answer Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.to.Encode(answer) // Fails only when the agent has gone, which kills this process.
}
