// Package envoytest runs real Envoys for tests: in the network namespace of the test, and with volumes that change in
// the same way as kubelet changes them.
package envoytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// isolated is set in the environment of a test binary that runs in its own network namespace.
const isolated = "GATEHOUSE_TEST_ISOLATED"

// Isolate runs the tests in their own network namespace, so that Envoy's fixed ports do not conflict, and in their own
// mount namespace, where they may replace /etc/resolv.conf; it never returns. TestMain calls it. Creating the namespaces
// needs root, or user namespaces.
func Isolate(m *testing.M) {
	if os.Getenv(isolated) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "envoytest: the loopback interface of the new network:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	}
	fmt.Fprintln(os.Stderr, "envoytest: running the tests in a network of their own:", err)
	os.Exit(1)
}

// loopbackUp activates the loopback interface of a new network namespace.
func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer func() { _ = syscall.Close(fd) }()
	request := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP | syscall.IFF_RUNNING}
	copy(request.name[:], "lo")
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS,
		uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("setting the flags of lo: %w", errno)
	}
	return nil
}

// Binary returns the path of the repository's Envoy (bin/envoy), or of $ENVOY. Without either the test is skipped.
func Binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("ENVOY")
	if path == "" {
		path = inRepository(t, "bin/envoy")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("there is no Envoy at %s: make bin/envoy, or let ENVOY name one", path)
	}
	return path
}

// inRepository finds a file below the directory of go.mod.
func inRepository(t testing.TB, path string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, path)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("there is no go.mod above the test's directory")
		}
		dir = parent
	}
}

// Envoy is a running Envoy.
type Envoy struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs Envoy with the configuration (--config-yaml) and arguments until the test ends. A failed test prints its
// log.
func Start(t testing.TB, config string, args ...string) *Envoy {
	t.Helper()
	binary := Binary(t)
	ctx, cancel := context.WithCancel(context.Background())
	log, err := os.Create(filepath.Join(t.TempDir(), "envoy.log"))
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--config-yaml", config, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn"},
		args...)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	e := &Envoy{cmd: cmd, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(e.done) }()
	t.Cleanup(func() {
		cancel()
		<-e.done
		if t.Failed() {
			if content, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("Envoy said:\n%s", content)
			}
		}
	})
	return e
}

// Stop ends Envoy (SIGTERM), as kubelet does, and waits for it.
func (e *Envoy) Stop(t *testing.T) {
	t.Helper()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.done:
	case <-time.After(20 * time.Second):
		t.Fatal("Envoy did not end within 20 s of SIGTERM")
	}
}

// CPU is the time that all threads of Envoy have run so far, in user space and in the kernel.
func (e *Envoy) CPU(t testing.TB) (total time.Duration) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", e.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("Envoy's threads in /proc: %d of them, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var ran int64 // The first field, in nanoseconds.
		if _, err := fmt.Sscan(string(content), &ran); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		total += time.Duration(ran)
	}
	return total
}

// Get requests a path from a port of 127.0.0.1 and returns the status code and the body, or 0 and the error.
func Get(port int, path string) (code int, body string) {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}

// WaitFor polls until done, for at most 20 s.
func WaitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("after 20 s still waiting for %s", what)
}

// Mount is a directory of files that changes in the same way as kubelet's volumes: each file is a link into ..data,
// which is itself a link to the current generation and is replaced by a rename.
type Mount struct {
	Dir        string
	generation int
}

// NewMount makes an empty directory.
func NewMount(t testing.TB) *Mount {
	t.Helper()
	return &Mount{Dir: t.TempDir()}
}

// Write replaces all files at once.
func (m *Mount) Write(t testing.TB, files map[string]string) {
	t.Helper()
	if err := m.write(files); err != nil {
		t.Fatal(err)
	}
}

func (m *Mount) write(files map[string]string) error {
	m.generation++
	name := fmt.Sprintf("..generation_%d", m.generation)
	dir := filepath.Join(m.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("making the generation: %w", err)
	}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			return fmt.Errorf("writing the generation: %w", err)
		}
		err := os.Symlink(filepath.Join("..data", file), filepath.Join(m.Dir, file))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("linking %s: %w", file, err)
		}
	}
	next := filepath.Join(m.Dir, "..data_tmp")
	if err := os.Symlink(name, next); err != nil {
		return fmt.Errorf("linking the generation: %w", err)
	}
	if err := os.Rename(next, filepath.Join(m.Dir, "..data")); err != nil {
		return fmt.Errorf("switching to the generation: %w", err)
	}
	if m.generation == 1 {
		return nil
	}
	old := fmt.Sprintf("..generation_%d", m.generation-1)
	if err := os.RemoveAll(filepath.Join(m.Dir, old)); err != nil {
		return fmt.Errorf("removing the old generation: %w", err)
	}
	return nil
}
