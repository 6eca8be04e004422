package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gatehouse/tests/cluster/publish"
)

// state is what the supervisor tells the commands, by a file.
type state struct {
	// Done lists what bringing up has reached so far, in order.
	Done []step `json:"done"`
	// Ready says that all steps are done.
	Ready bool `json:"ready"`
	// Failure says why the supervisor gave up; it then ends.
	Failure string `json:"failure,omitempty"`
	// API is the URL of the API server on the host's loopback.
	API string `json:"api,omitempty"`
	// Options are those that the cluster was brought up with.
	Options options `json:"options"`
	// Restarts counts how often each process ended by itself and was started again.
	Restarts map[string]int `json:"restarts,omitempty"`
	// LoadBalancers are the published addresses.
	LoadBalancers []publish.Service `json:"loadBalancers,omitempty"`
}

// step is one thing that bringing up has done, Seconds after the supervisor's start.
type step struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// options are what `up` can be told.
type options struct {
	// Images maps image names or patterns to local binaries.
	Images map[string]string `json:"images"`
	// Binaries is the directory of etcd, kube-apiserver and kube-controller-manager.
	Binaries string `json:"binaries"`
	// WithoutNode leaves the node agent out.
	WithoutNode bool `json:"withoutNode,omitempty"`
}

// readState reads the supervisor's state file; a missing file is an error that wraps fs.ErrNotExist.
func readState(l layout) (state, error) {
	var s state
	data, err := os.ReadFile(l.state())
	if err != nil {
		return s, fmt.Errorf("reading the cluster's state: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("reading the cluster's state %s: %w", l.state(), err)
	}
	return s, nil
}

// stateFile is the supervisor's side of the state: every change is written at once and replaces the file whole.
type stateFile struct {
	path  string
	begin time.Time
	mu    sync.Mutex
	now   state
}

func (f *stateFile) change(change func(*state)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.now)
	return writeJSON(f.path, f.now)
}

// did notes that a step is done.
func (f *stateFile) did(name string) error {
	return f.change(func(s *state) {
		s.Done = append(s.Done, step{Name: name, Seconds: time.Since(f.begin).Seconds()})
	})
}

func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return fmt.Errorf("writing the cluster's state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing the cluster's state: %w", err)
	}
	return nil
}
