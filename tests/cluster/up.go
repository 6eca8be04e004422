package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func upCommand(dir *string) *cobra.Command {
	var flags upFlags
	command := &cobra.Command{
		Use:   "up",
		Short: "Bring the cluster up, or say that it is up",
		Long: `Brings the cluster up and returns when pods can be created; a cluster that is up already stays as it is. What an
earlier cluster left in the directory, because it crashed, is cleaned away first.

Pods run local programs. These images are known: echo-basic*, envoy, gatehouse* and ratelimit, each the binary of that
name beside this one. --image adds more; a pattern is matched with the last path element of a pod's image, with its tag
and without.`,
		Example: `  cluster up
  cluster up --dir /tmp/other
  cluster up --image 'my-server*=/usr/local/bin/my-server'
  eval "$(cluster up --quiet)"; kubectl get nodes`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return up(layout{dir: *dir}, flags) },
	}
	command.Flags().StringArrayVar(&flags.images, "image", nil,
		"NAME=PATH: pods with image NAME (* and ? as in file names) run the program at PATH; repeatable")
	command.Flags().StringVar(&flags.binaries, "bin", "",
		"the directory of etcd, kube-apiserver and so on (default: where this program is)")
	command.Flags().BoolVar(&flags.withoutNode, "without-node", false,
		"run no pods: an API server and its controllers only")
	command.Flags().DurationVar(&flags.timeout, "timeout", 2*time.Minute, "how long to wait until the cluster is ready")
	command.Flags().BoolVarP(&flags.quiet, "quiet", "q", false, "print the KUBECONFIG line only")
	return command
}

type upFlags struct {
	images      []string
	binaries    string
	withoutNode bool
	timeout     time.Duration
	quiet       bool
}

func up(l layout, flags upFlags) error {
	if os.Geteuid() != 0 {
		return errors.New("namespaces need root; run this as root")
	}
	o, err := flags.options()
	if err != nil {
		return err
	}
	if err := l.create(); err != nil {
		return err
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := ensureSupervisor(l, o, flags); err != nil {
		return err
	}
	if err := awaitCluster(l, flags); err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s\n", l.kubeconfig())
	return nil
}

// ensureSupervisor starts the cluster unless it runs already with the same options.
func ensureSupervisor(l layout, o options, flags upFlags) error {
	s, alive, err := findSupervisor(l)
	if err != nil {
		return err
	}
	if alive {
		now, err := readState(l)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && (!maps.Equal(now.Options.Images, o.Images) || now.Options.WithoutNode != o.WithoutNode ||
			now.Options.Binaries != o.Binaries) {
			return errors.New("the cluster is up with other --image, --bin or --without-node; run `down` first")
		}
		flags.say("the cluster is up already, process %d", s.PID)
		return nil
	}
	if s.PID != 0 {
		flags.say("cleaning up after an earlier cluster that crashed")
		if err := s.stop(0); err != nil {
			return err
		}
	}
	if err := endVisitors(l); err != nil {
		return err
	}
	if err := l.clear(); err != nil {
		return err
	}
	for _, sub := range []string{l.pki(""), l.node(), filepath.Dir(l.log(""))} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return fmt.Errorf("creating the cluster's directory: %w", err)
		}
	}
	return startSupervisor(l, o)
}

// awaitCluster prints what the supervisor reaches until the cluster is ready.
func awaitCluster(l layout, flags upFlags) error {
	told := 0
	for deadline := time.Now().Add(flags.timeout); ; time.Sleep(50 * time.Millisecond) {
		_, alive, err := findSupervisor(l)
		if err != nil {
			return err
		}
		now, err := readState(l)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for ; told < len(now.Done); told++ {
			flags.say("%5.1f s  %s", now.Done[told].Seconds, now.Done[told].Name)
		}
		switch {
		case now.Failure != "":
			return fmt.Errorf("the cluster ended: %s", now.Failure)
		case !alive:
			return fmt.Errorf("the cluster ended without a word%s", lastWords(l, "supervisor"))
		case now.Ready:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("the cluster is not ready after %s (--timeout); it is left running%s", flags.timeout,
				suspect(l, now))
		}
	}
}

// options turns the flags into what the supervisor is told, and refuses what could not work.
func (f upFlags) options() (options, error) {
	o := options{Binaries: f.binaries, WithoutNode: f.withoutNode, Images: map[string]string{}}
	if o.Binaries == "" {
		self, err := os.Executable()
		if err != nil {
			return o, fmt.Errorf("finding this program: %w", err)
		}
		o.Binaries = filepath.Dir(self)
	}
	binaries, err := filepath.Abs(o.Binaries)
	if err != nil {
		return o, fmt.Errorf("resolving --bin: %w", err)
	}
	o.Binaries = binaries
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if _, err := os.Stat(filepath.Join(o.Binaries, name)); err != nil {
			return o, fmt.Errorf("there is no %s in %s; build it with tests/cluster/build.sh, or say --bin", name, o.Binaries)
		}
	}
	for pattern, name := range map[string]string{
		"echo-basic*": "echo-basic", "envoy": "envoy",
		"gatehouse*": "gatehouse", "ratelimit": "ratelimit",
	} {
		o.Images[pattern] = filepath.Join(o.Binaries, name)
	}
	for _, image := range f.images {
		pattern, program, err := parseImage(image)
		if err != nil {
			return o, err
		}
		o.Images[pattern] = program
	}
	return o, nil
}

// parseImage reads one --image.
func parseImage(image string) (pattern, program string, err error) {
	pattern, program, found := strings.Cut(image, "=")
	if !found || pattern == "" || program == "" {
		return "", "", fmt.Errorf("--image %q is not NAME=PATH, such as 'my-server*=/usr/local/bin/my-server'", image)
	}
	pattern = path.Base(pattern) // The rest of an image's name is where it would be pulled from.
	if _, err := path.Match(pattern, ""); err != nil {
		return "", "", fmt.Errorf("--image %q: %s is not a pattern: %w", image, pattern, err)
	}
	if program, err = filepath.Abs(program); err != nil {
		return "", "", fmt.Errorf("--image %q: resolving the program: %w", image, err)
	}
	info, err := os.Stat(program)
	if err != nil {
		return "", "", fmt.Errorf("--image %q: %w", image, err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return "", "", fmt.Errorf("--image %q: %s is not an executable file", image, program)
	}
	return pattern, program, nil
}

func (f upFlags) say(format string, args ...any) {
	if !f.quiet {
		fmt.Printf(format+"\n", args...)
	}
}

// suspect shows the log of what most likely keeps the cluster from being ready.
func suspect(l layout, now state) string {
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if now.Restarts[name] > 0 {
			return fmt.Sprintf("; %s keeps ending%s", name, lastWords(l, name))
		}
	}
	return lastWords(l, "supervisor")
}

// lastWords returns the end of a log, for an error message.
func lastWords(l layout, name string) string {
	data, err := os.ReadFile(l.log(name))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return fmt.Sprintf("; the end of %s:\n%s", l.log(name), strings.Join(lines[max(0, len(lines)-10):], "\n"))
}
