package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// downGrace is how long the supervisor may take to end its pods in order.
const downGrace = nodeGrace + 5*time.Second

func downCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Take the cluster down and remove all that it left",
		Long: `Takes the cluster down: every process, network namespace and mount of it, commands that exec started there, and the
files in its directory. Taking down what is not up is not an error.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return down(layout{dir: *dir}) },
	}
}

func down(l layout) error {
	if !l.exists() {
		fmt.Printf("there is no cluster in %s\n", l.dir)
		return nil
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, _, err := findSupervisor(l)
	if err != nil {
		return err
	}
	begin := time.Now()
	if s.PID != 0 {
		if err := s.stop(downGrace); err != nil {
			return err
		}
	}
	if err := endVisitors(l); err != nil {
		return err
	}
	if err := l.remove(); err != nil {
		return err
	}
	fmt.Printf("the cluster is down, %.1f s\n", time.Since(begin).Seconds())
	return nil
}
