package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gatehouse/tests/cluster/node/family"
)

// The addresses inside the namespace. They are the same in every cluster, since no cluster sees another.
var (
	ipv4 = family.Family{
		Gateway:       netip.MustParseAddr("10.244.0.1"),
		Pods:          netip.MustParsePrefix("10.244.0.0/16"),
		Services:      netip.MustParsePrefix("10.96.0.0/16"),
		LoadBalancers: netip.MustParsePrefix("10.98.0.0/16"),
	}
	ipv6 = family.Family{
		Gateway:       netip.MustParseAddr("fd00:10:244::1"),
		Pods:          netip.MustParsePrefix("fd00:10:244::/112"),
		Services:      netip.MustParsePrefix("fd00:10:96::/112"),
		LoadBalancers: netip.MustParsePrefix("fd00:10:98::/112"),
	}
	// The API server listens on gateway, and is the first Service.
	gateway      = ipv4.Gateway
	firstService = ipv4.Services.Addr().Next()
)

const (
	clusterDomain = "cluster.local"
	apiPort       = 6443
	etcdURL       = "http://127.0.0.1:2379"
)

// layout names the files of a cluster's directory.
type layout struct{ dir string }

func (l layout) kubeconfig() string       { return filepath.Join(l.dir, "kubeconfig") }
func (l layout) insideKubeconfig() string { return filepath.Join(l.dir, "inside.kubeconfig") }
func (l layout) resolvConf() string       { return filepath.Join(l.dir, "resolv.conf") }
func (l layout) pki(name string) string   { return filepath.Join(l.dir, "pki", name) }
func (l layout) etcd() string             { return filepath.Join(l.dir, "etcd") }
func (l layout) node() string             { return filepath.Join(l.dir, "node") }
func (l layout) log(name string) string   { return filepath.Join(l.dir, "logs", name+".log") }
func (l layout) state() string            { return filepath.Join(l.dir, "state.json") }
func (l layout) supervisor() string       { return filepath.Join(l.dir, "supervisor.json") }
func (l layout) lockFile() string         { return filepath.Join(l.dir, "lock") }

// owned is all that a cluster ever puts into its directory, the lock excepted.
func (l layout) owned() []string {
	return []string{
		l.kubeconfig(), l.insideKubeconfig(), l.resolvConf(), l.state(), l.supervisor(),
		filepath.Join(l.dir, "pki"), l.etcd(), l.node(), filepath.Join(l.dir, "logs"),
	}
}

// create makes the directory; one that holds other things than a cluster is refused, since down removes them.
func (l layout) create() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading --dir: %w", err)
	}
	if _, err := os.Stat(l.lockFile()); len(entries) > 0 && err != nil {
		return fmt.Errorf("--dir %s holds other files and no cluster: name an empty or new directory", l.dir)
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return fmt.Errorf("creating --dir: %w", err)
	}
	return nil
}

// exists reports whether a cluster was ever brought up in the directory.
func (l layout) exists() bool {
	_, err := os.Stat(l.lockFile())
	return err == nil
}

// lock makes commands that change the cluster wait for each other; it ends with the returned function or the process.
func (l layout) lock() (func(), error) {
	file, err := os.OpenFile(l.lockFile(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the cluster's lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		fmt.Fprintf(os.Stderr, "waiting for another command on %s\n", l.dir)
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("waiting for the cluster's lock: %w", err)
		}
	}
	return func() { _ = file.Close() }, nil
}

// clear removes what a cluster left in the directory, which itself stays.
func (l layout) clear() error {
	for _, path := range l.owned() {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing what a cluster left behind: %w", err)
		}
	}
	return nil
}

// remove clears the directory and removes it, unless someone else put something there.
func (l layout) remove() error {
	if err := l.clear(); err != nil {
		return err
	}
	if err := os.Remove(l.lockFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the cluster's lock: %w", err)
	}
	if err := os.Remove(l.dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing --dir: %w", err)
	}
	return nil
}
