// Package isolated runs a package's tests in network, mount and process namespaces of their own, so that nothing
// they do to links, routes or mounts touches the machine or outlives them.
package isolated

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gatehouse/tests/cluster/node/family"
)

const marker = "GATEHOUSE_ISOLATED_TEST"

// Families are the addresses for a node of the tests. The namespace has the Gateways on its loopback link.
var Families = []family.Family{
	{
		Gateway:       netip.MustParseAddr("10.244.0.1"),
		Pods:          netip.MustParsePrefix("10.244.0.0/16"),
		Services:      netip.MustParsePrefix("10.96.0.0/16"),
		LoadBalancers: netip.MustParsePrefix("10.98.0.0/24"),
	},
	{
		Gateway:       netip.MustParseAddr("fd00:10:244::1"),
		Pods:          netip.MustParsePrefix("fd00:10:244::/112"),
		Services:      netip.MustParsePrefix("fd00:10:96::/112"),
		LoadBalancers: netip.MustParsePrefix("fd00:10:98::/120"),
	},
}

// Main runs the tests of m again in a child with namespaces of its own, with Gateways on its loopback link, and exits
// with its code. Without root it runs them in place; tests then call Need.
func Main(m *testing.M) {
	switch {
	case os.Getenv(marker) != "":
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare namespaces:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	case os.Getuid() != 0:
		os.Exit(m.Run())
	}
	os.Exit(again())
}

// again runs the program in new namespaces and returns its exit code. Temporary files of tests go where they can be
// removed when all that used them has ended.
func again() int {
	dir, err := os.MkdirTemp("", "isolated-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a temporary directory:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), marker+"=1", "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  unix.SIGKILL,
	}
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run tests in namespaces of their own:", err)
		return 1
	}
	return 0
}

// Need skips a test that cannot run without namespaces of its own.
func Need(t *testing.T) {
	t.Helper()
	if os.Getenv(marker) == "" {
		t.Skip("needs root, for namespaces of its own")
	}
}

func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if Families, err = family.Enable(Families...); err != nil {
		return err
	}
	for _, f := range Families {
		if err := netlink.AddrAdd(loopback, &netlink.Addr{IPNet: family.Single(f.Gateway)}); err != nil {
			return fmt.Errorf("add address to lo: %w", err)
		}
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
