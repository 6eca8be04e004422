package inside

import (
	"encoding/json"
	"errors"
	"fmt"
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
	mu       sync.Mutex
	exits    map[int]chan int
	requests map[int]int // PIDs by the ID of the request
}

// serveContainer builds the root, starts the command and serves requests until the command ends. It returns its exit
// code; all other processes end with this one.
func serveContainer(control *os.File) int {
	unix.CloseOnExec(int(control.Fd()))
	from := &receiver{fd: int(control.Fd())}
	receive, send := json.NewDecoder(from), &replies{to: json.NewEncoder(control)}
	var s Spec
	if err := receive.Decode(&s); err != nil {
		return 255 // The agent is gone: there is nobody to tell.
	}
	terminate := make(chan os.Signal, 4)
	signal.Notify(terminate, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	r := &reaper{exits: map[int]chan int{}, requests: map[int]int{}}
	pid, exited, err := r.begin(&s)
	if err != nil {
		send.put(Reply{Error: err.Error()})
		time.Sleep(time.Second) // The agent kills this process once it has read the reason.
		return 128
	}
	send.put(Reply{})
	go r.reap()
	go r.serve(&s, from, receive, send)
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
	return r.run(s, program{command: s.Command, files: []uintptr{0, 1, 2}})
}

// program is what is to be run, with its standard streams.
type program struct {
	command  []string
	files    []uintptr
	terminal bool
}

// run starts a program and returns its PID and where its exit code will come.
func (r *reaper) run(s *Spec, p program) (int, chan int, error) {
	if len(p.files) != 3 {
		return 0, nil, fmt.Errorf("start program %q: it came with %d streams, want 3", p.command, len(p.files))
	}
	env := s.environ()
	if err := os.Setenv("PATH", lookup(env, "PATH")); err != nil {
		return 0, nil, fmt.Errorf("set PATH: %w", err)
	}
	path, err := exec.LookPath(p.command[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return 0, nil, fmt.Errorf("find program %q: %w", p.command[0], err)
	}
	for _, f := range p.files {
		if err := give(f, s); err != nil {
			return 0, nil, err
		}
	}
	attr := &syscall.ProcAttr{
		Dir: "/", Env: env, Files: p.files,
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: p.terminal},
	}
	if s.WorkingDir != "" {
		attr.Dir = s.WorkingDir
	}
	if s.UID != 0 || s.GID != 0 || len(s.Groups) > 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: s.UID, Gid: s.GID, Groups: s.Groups}
	}
	r.mu.Lock() // The reaper must find the entry even if the command ends at once.
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, p.command, attr)
	if err != nil {
		return 0, nil, fmt.Errorf("start program %s: %w", path, err)
	}
	exited := make(chan int, 1)
	r.exits[pid] = exited
	return pid, exited, nil
}

// give makes a pipe or terminal the user's own. The program may open /dev/stdout again, which needs permission even
// if it is a pipe.
func give(file uintptr, s *Spec) error {
	var info unix.Stat_t
	if err := unix.Fstat(int(file), &info); err != nil {
		return fmt.Errorf("look at a standard stream: %w", err)
	}
	if kind := info.Mode & unix.S_IFMT; kind == unix.S_IFCHR && unix.Major(info.Rdev) == memoryDevices ||
		kind != unix.S_IFCHR && kind != unix.S_IFIFO {
		return nil // /dev/null is everybody's, and a file is whose it is.
	}
	if err := unix.Fchown(int(file), int(s.UID), int(s.GID)); err != nil {
		return fmt.Errorf("give a standard stream to user %d: %w", s.UID, err)
	}
	return nil
}

// memoryDevices is the kernel's major number of /dev/null and its like.
const memoryDevices = 1

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
func (r *reaper) serve(s *Spec, from *receiver, receive *json.Decoder, send *replies) {
	for {
		var q Request
		if receive.Decode(&q) != nil {
			return // The agent is gone, and its parent-death signal is on the way.
		}
		if q.Cancel {
			r.cancel(q.ID)
			continue
		}
		files := from.take(3)
		pid, exited, err := r.run(s, program{command: q.Command, files: files, terminal: q.Terminal})
		for _, f := range files {
			_ = unix.Close(int(f)) // The program has its own copies.
		}
		if err != nil {
			send.put(Reply{ID: q.ID, Error: err.Error()})
			continue
		}
		r.note(q.ID, pid)
		go func() {
			code := <-exited
			r.note(q.ID, 0)
			send.put(Reply{ID: q.ID, Exit: code})
		}()
	}
}

// note remembers the PID of the program that runs for a request; 0 forgets it.
func (r *reaper) note(id, pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pid == 0 {
		delete(r.requests, id)
	} else {
		r.requests[id] = pid
	}
}

// cancel kills the whole session of a request's program, if it still runs.
func (r *reaper) cancel(id int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pid, ok := r.requests[id]; ok {
		_ = unix.Kill(-pid, unix.SIGKILL) // It may just have ended.
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
