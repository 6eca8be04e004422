package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dirVariable marks every process that `exec` starts with the cluster that it belongs to.
const dirVariable = "GATEHOUSE_CLUSTER_DIR"

// supervisor identifies the process that a cluster lives and dies with: the first of its process namespace, in
// whose network and mount namespaces all else runs. A number alone does not identify it, since numbers are reused.
type supervisor struct {
	PID     int    `json:"pid"`
	Started uint64 `json:"started"` // in clock ticks since boot
}

// startSupervisor starts the supervisor, detached from the caller's terminal and in namespaces of its own.
func startSupervisor(l layout, o options) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	host, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("opening the host's network namespace: %w", err)
	}
	defer host.Close()
	log, err := os.Create(l.log("supervisor"))
	if err != nil {
		return fmt.Errorf("creating the supervisor's log: %w", err)
	}
	defer log.Close()
	encoded, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encoding the options: %w", err)
	}

	cmd := exec.Command(self, "supervise", "--dir", l.dir, "--options", string(encoded))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{host} // file descriptor hostNamespace
	cmd.Env = supervisorEnvironment()
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the supervisor in namespaces of its own: %w", err)
	}
	started, _, err := startTime(cmd.Process.Pid)
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // Why it ended is in its state and log.
	return writeJSON(l.supervisor(), supervisor{PID: cmd.Process.Pid, Started: started})
}

// supervisorEnvironment leaves out the caller's proxies and clients' settings, which mean nothing inside.
func supervisorEnvironment() []string {
	env := []string{"HOME=/root"}
	for _, name := range []string{"PATH", "TMPDIR", "GOMAXPROCS", "GOTRACEBACK"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// findSupervisor returns the supervisor of the cluster in this directory, if it is alive.
func findSupervisor(l layout) (supervisor, bool, error) {
	var s supervisor
	data, err := os.ReadFile(l.supervisor())
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("reading who supervises the cluster: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, false, fmt.Errorf("reading who supervises the cluster from %s: %w", l.supervisor(), err)
	}
	return s, s.alive(), nil
}

// alive reports whether the supervisor works; one that is ending already does not.
func (s supervisor) alive() bool {
	started, exiting, err := startTime(s.PID)
	return err == nil && started == s.Started && !exiting
}

// gone reports whether the supervisor has ended, and with it all processes of its namespace, for which it waits.
func (s supervisor) gone() bool {
	started, _, err := startTime(s.PID)
	return err != nil || started != s.Started
}

// stop asks the supervisor to end, and kills it when it has not after the grace; nothing of its namespaces outlives it.
func (s supervisor) stop(grace time.Duration) error {
	process, err := os.FindProcess(s.PID) // holds the process by a pidfd
	if err != nil {
		return fmt.Errorf("finding the supervisor: %w", err)
	}
	if s.gone() {
		return nil
	}
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the supervisor: %w", err)
	}
	if s.waitGone(grace) {
		return nil
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing the supervisor: %w", err)
	}
	if !s.waitGone(10 * time.Second) {
		return fmt.Errorf("the supervisor, process %d, does not end", s.PID)
	}
	return nil
}

func (s supervisor) waitGone(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); !s.gone(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// endVisitors kills what `exec` started for this cluster and what that left running: a process of a cluster's
// network namespace would keep the namespace.
func endVisitors(l layout) error {
	mark := []byte(dirVariable + "=" + l.dir)
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return fmt.Errorf("listing processes: %w", err)
	}
	for _, path := range environments {
		environment, err := os.ReadFile(path)
		if err != nil || !marked(environment, mark) {
			continue // It ended meanwhile, or it is someone else's.
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || pid == os.Getpid() || sameNetwork(pid) {
			continue // This very command was called by `exec`, or by a process that left the cluster's network.
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("ending process %d, which `exec` started: %w", pid, err)
		}
	}
	return nil
}

func marked(environment, mark []byte) bool {
	for _, variable := range bytes.Split(environment, []byte{0}) {
		if bytes.Equal(variable, mark) {
			return true
		}
	}
	return false
}

// sameNetwork reports whether a process shares this one's network namespace.
func sameNetwork(pid int) bool {
	mine, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return true
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return err != nil || mine == theirs
}

// startTime returns when a process started, in clock ticks since boot, and whether it is on its way out. One that has
// ended and that nobody has waited for counts as gone.
func startTime(pid int) (ticks uint64, exiting bool, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false, fmt.Errorf("reading the state of process %d: %w", pid, err)
	}
	// The second field is the program's name in parentheses, and may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const stateField, flagsField, startField = 0, 6, 19 // fields 3, 9 and 22 of proc_pid_stat(5)
	if len(fields) <= startField {
		return 0, false, fmt.Errorf("reading the state of process %d: only %d fields", pid, len(fields))
	}
	if fields[stateField] == "Z" || fields[stateField] == "X" {
		return 0, false, fmt.Errorf("process %d has ended", pid)
	}
	flags, flagsErr := strconv.ParseUint(fields[flagsField], 10, 64)
	ticks, startErr := strconv.ParseUint(fields[startField], 10, 64)
	if err := errors.Join(flagsErr, startErr); err != nil {
		return 0, false, fmt.Errorf("reading the state of process %d: %w", pid, err)
	}
	const exitingFlag = 0x4 // PF_EXITING of linux/sched.h
	return ticks, flags&exitingFlag != 0, nil
}
