// Command files measures gatehouse check and gatehouse diff on folders with many objects: time, CPU and memory of the
// whole process.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	objects := flag.Int("n", 50_000, "number of objects in a folder")
	program := flag.String("gatehouse", "../bin/gatehouse", "the program to measure")
	keep := flag.String("keep", "", "folder to write the objects to and to leave there; without it a temporary one")
	flag.Parse()
	if err := run(*objects, *program, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(1)
	}
}

func run(objects int, program, dir string) error {
	if dir == "" {
		made, err := os.MkdirTemp("", "gatehouse-bench-files-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(made) }()
		dir = made
	}
	program, err := filepath.Abs(program)
	if err != nil {
		return err
	}
	old, now := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	size, err := write(old, objects, "5s")
	if err != nil {
		return err
	}
	if _, err := write(now, objects, "6s"); err != nil {
		return err
	}
	names, err := packs()
	if err != nil {
		return err
	}
	fmt.Printf("%d objects, %d MiB of YAML, packs %s\n\n", objects, size>>20, strings.Join(names, ", "))
	fmt.Println("| | time | CPU | memory (RSS) | last line |\n|---|---|---|---|---|")
	check := []string{"check", old}
	withRules := slices.Clone(check)
	for _, name := range names {
		withRules = append(withRules, "--rules", name)
	}
	for _, args := range [][]string{check, withRules, {"diff", old, now}} {
		if err := measure(program, args, dir); err != nil {
			return err
		}
	}
	return nil
}

// packs are the names of all packs, which are folders of the repository.
func packs() (names []string, err error) {
	entries, err := os.ReadDir("../policies/rules/packs")
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// measure runs a command and prints a line about it. Exit code 1 says that there are findings or changes.
func measure(program string, args []string, dir string) error {
	var out bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return fmt.Errorf("gatehouse %s: %w: %s", args[0], err, out.Bytes())
	}
	state := cmd.ProcessState
	used := state.SysUsage().(*syscall.Rusage)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	fmt.Printf("| gatehouse %s | %.1f s | %.1f s | %d MiB | %s |\n",
		strings.ReplaceAll(strings.Join(args, " "), dir+"/", ""), took.Seconds(),
		(state.UserTime() + state.SystemTime()).Seconds(), used.Maxrss>>10, lines[len(lines)-1])
	return nil
}
