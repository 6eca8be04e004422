// Command bench measures Gatehouse on the local Kubernetes and prints one table: what changes cost beside many routes,
// next to what Envoy itself needs for them, and what fails while things change under load.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are what to measure.
type options struct {
	sizes   string
	tries   int
	changes int
	churn   time.Duration
	scoped  bool
	// sets is the number of ListenerSets of a column of its own, and ofSets tells the inner process that it is that
	// column's.
	sets   int
	ofSets bool
	// inside is the number of routes to measure with, in the process that runs in the cluster's network.
	inside int
	// admission reports whether only the latency of admission is measured.
	admission bool
	// certificates reports whether only certificates are measured, and the sizes are numbers of HTTPS listeners.
	certificates bool
	// webhookOff reports whether only the cost of creating is measured, without admission.
	webhookOff bool
	root, dir  string
}

func main() {
	var o options
	flag.StringVar(&o.sizes, "n", "100,1000,5000,10000",
		"numbers of HTTPRoutes on the Gateway, a column of the table for each")
	flag.IntVar(&o.tries, "tries", 20, "how often each latency is taken")
	flag.IntVar(&o.changes, "changes", 1000, "number of routes at which changes are made under load; 0 for none")
	flag.DurationVar(&o.churn, "churn", 0,
		"how long to change things without pause and watch memory, such as 30m; 0 for not at all")
	flag.IntVar(&o.sets, "sets", 0,
		"number of ListenerSets with 16 routes each that share one Gateway, a column of its own; 0 for none")
	flag.BoolVar(&o.admission, "admission", false, "measure the latency of admission instead, with and without rules")
	flag.BoolVar(&o.certificates, "certificates", false,
		"measure ListenerSets with an HTTPS listener and a certificate each instead; -n are their numbers")
	flag.BoolVar(&o.ofSets, "of-sets", false, "used by bench itself")
	flag.IntVar(&o.inside, "inside", 0, "used by bench itself")
	flag.BoolVar(&o.webhookOff, "webhook-off", false, "used by bench itself")
	flag.BoolVar(&o.scoped, "scoped", false, "used by bench itself")
	flag.StringVar(&o.root, "root", "", "used by bench itself")
	flag.StringVar(&o.dir, "dir", "", "used by bench itself")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	run := o.run
	if o.inside > 0 {
		run = o.measure
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// row is a measured value, as the inner process hands it out.
type row struct{ What, Value string }

// table holds the values of each row by column; rows stand in the order in which they came.
type table struct {
	columns []string
	rows    []string
	values  map[string]map[string]string
}

func (t *table) set(column string, r row) {
	if t.values[r.What] == nil {
		t.rows = append(t.rows, r.What)
		t.values[r.What] = map[string]string{}
	}
	t.values[r.What][column] = r.Value
}

func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "| | %s |\n|---|%s\n", strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
	for _, what := range t.rows {
		fmt.Fprintf(w, "| %s |", what)
		for _, column := range t.columns {
			fmt.Fprintf(w, " %s |", t.values[what][column])
		}
		fmt.Fprintln(w)
	}
}

// run measures at each size in a cluster of its own, and prints the table.
func (o options) run(ctx context.Context) error {
	var err error
	if o.root, err = filepath.Abs(".."); err != nil {
		return err
	}
	t := &table{values: map[string]map[string]string{}}
	for text := range strings.SplitSeq(o.sizes, ",") {
		if text == "" {
			continue // Nothing but ListenerSets.
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return fmt.Errorf("-n: %q is not a number of %s; write for example 100,1000", text, o.objects())
		}
		column := fmt.Sprintf("%d %s", n, o.objects())
		t.columns = append(t.columns, column)
		for _, mode := range o.modes() {
			if err := o.column(ctx, t, column, n, mode); err != nil {
				t.print(os.Stdout) // What has been measured is not lost.
				return err
			}
		}
	}
	if o.sets > 0 {
		column := fmt.Sprintf("%d ListenerSets", o.sets)
		t.columns = append(t.columns, column)
		if err := o.column(ctx, t, column, o.sets, []string{"-of-sets"}); err != nil {
			t.print(os.Stdout) // As above.
			return err
		}
	}
	t.print(os.Stdout)
	return nil
}

// objects is what the sizes are numbers of.
func (o options) objects() string {
	if o.certificates {
		return "HTTPS listeners"
	}
	return "routes"
}

// modes are the arguments for each cluster of a column.
func (o options) modes() [][]string {
	switch {
	case o.certificates:
		return [][]string{{"-certificates"}}
	case o.admission:
		return [][]string{{"-admission"}, {"-admission", "-webhook-off"}}
	}
	return [][]string{nil, {"-scoped"}, {"-webhook-off"}}
}

// column starts a cluster, measures in it, and removes it.
func (o options) column(ctx context.Context, t *table, column string, n int, mode []string) (err error) {
	dir, err := os.MkdirTemp("", "gatehouse-bench")
	if err != nil {
		return err
	}
	cluster := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(o.root, "bin/cluster"), append([]string{"--dir", dir}, args...)...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stderr = os.Stderr
		return cmd
	}
	defer func() {
		down := exec.Command(filepath.Join(o.root, "bin/cluster"), "--dir", dir, "down")
		if out, failed := down.CombinedOutput(); failed != nil {
			err = errors.Join(err, fmt.Errorf("cluster down: %w: %s", failed, out))
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	fmt.Fprintf(os.Stderr, "\n%s %v\n", column, mode)
	args := []string{dir, "--set", "deployment.replicas=1"}
	if slices.Contains(mode, "-webhook-off") {
		args = append(args, "--set", "admission.enabled=false")
	}
	up := exec.CommandContext(ctx, filepath.Join(o.root, "tests/up.sh"), args...)
	up.Stdout, up.Stderr = os.Stderr, os.Stderr
	if err := up.Run(); err != nil {
		return fmt.Errorf("start the cluster: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	inner := []string{
		"exec", "--", self, "-inside", strconv.Itoa(n), "-tries", strconv.Itoa(o.tries), "-root", o.root, "-dir", dir,
		"-churn", o.churn.String(),
		"-changes", strconv.Itoa(o.changes),
	}
	measure := cluster(append(inner, mode...)...)
	out, err := measure.StdoutPipe()
	if err != nil {
		return err
	}
	if err := measure.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var r row
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			fmt.Fprintln(os.Stderr, lines.Text())
			continue
		}
		fmt.Fprintf(os.Stderr, "  %s: %s\n", r.What, r.Value)
		t.set(column, r)
	}
	return measure.Wait()
}
