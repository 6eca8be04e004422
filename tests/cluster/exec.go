package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func execCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "exec -- CMD [ARG...]",
		Short: "Run a command inside the cluster's network",
		Long: `Runs a command in the cluster's network namespace, where pods, Services, load balancers and names have their own
addresses. KUBECONFIG is set to a file that works there. The command ends with the cluster.`,
		Example: `  cluster exec -- curl -H 'Host: www.example.com' http://10.98.0.1/get
  cluster exec -- getent hosts backend.default.svc.cluster.local
  cluster exec -- go test ./tests/conformance`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return execInside(layout{dir: *dir}, args) },
	}
}

// execInside turns this process into the command, on a thread that has entered the cluster's network namespace.
func execInside(l layout, args []string) error {
	s, err := running(l)
	if err != nil {
		return err
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return fmt.Errorf("finding the command: %w", err)
	}
	network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", s.PID))
	if err != nil {
		return fmt.Errorf("opening the cluster's network namespace: %w", err)
	}
	defer network.Close()
	if err := notOurs(network); err != nil {
		return err
	}

	runtime.LockOSThread() // execve keeps the namespaces of the thread that calls it.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the cluster's network namespace: %w", err)
	}
	if err := showResolvConf(l); err != nil {
		return err
	}
	if err := unix.Exec(program, args, insideEnvironment(l)); err != nil {
		return fmt.Errorf("running %s: %w", program, err)
	}
	return nil
}

// showResolvConf puts the cluster's resolv.conf over the host's, which may be a link to elsewhere or not exist.
func showResolvConf(l layout) error {
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if errors.Is(err, os.ErrNotExist) {
		return nil // Nothing to put it over: names are looked up on 127.0.0.1, where nobody answers.
	}
	if err != nil {
		return fmt.Errorf("finding /etc/resolv.conf: %w", err)
	}
	if err := unix.Mount(l.resolvConf(), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("showing the cluster's resolv.conf: %w", err)
	}
	return nil
}

// insideEnvironment is the caller's, less its proxies, which cannot be reached from inside.
func insideEnvironment(l layout) []string {
	var env []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "all_proxy", "no_proxy", "kubeconfig", strings.ToLower(dirVariable):
		default:
			env = append(env, variable)
		}
	}
	return append(env, "KUBECONFIG="+l.insideKubeconfig(), dirVariable+"="+l.dir)
}

// notOurs makes sure that a command for the cluster can never run in the network of this machine.
func notOurs(network *os.File) error {
	var theirs, ours unix.Stat_t
	if err := unix.Fstat(int(network.Fd()), &theirs); err != nil {
		return fmt.Errorf("looking at the cluster's network namespace: %w", err)
	}
	if err := unix.Stat("/proc/self/ns/net", &ours); err != nil {
		return fmt.Errorf("looking at this process's network namespace: %w", err)
	}
	if theirs.Ino == ours.Ino && theirs.Dev == ours.Dev {
		return errors.New("the cluster's network namespace is this machine's own, so the command is not run; start the cluster again with down and up")
	}
	return nil
}
