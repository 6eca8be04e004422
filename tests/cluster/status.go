package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gatehouse/tests/cluster/publish"
)

func statusCommand(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the cluster, and where each LoadBalancer is reached",
		Long: `Shows whether the cluster is up, its KUBECONFIG and logs, and each LoadBalancer address beside the loopback address
that it is published on. Fails when the cluster is not up.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return status(layout{dir: *dir}, command.OutOrStdout())
		},
	}
}

func status(l layout, out io.Writer) error {
	s, err := running(l)
	if err != nil {
		return err
	}
	now, err := readState(l)
	if err != nil {
		return err
	}
	word := "ready"
	if !now.Ready {
		word = "starting"
	}
	fmt.Fprintf(out, "cluster:     %s, process %d\n", word, s.PID)
	fmt.Fprintf(out, "API server:  %s\n", now.API)
	fmt.Fprintf(out, "KUBECONFIG:  %s\n", l.kubeconfig())
	fmt.Fprintf(out, "logs:        %s\n", l.log("*"))
	for _, name := range slices.Sorted(maps.Keys(now.Restarts)) {
		fmt.Fprintf(out, "restarted:   %s, %d times\n", name, now.Restarts[name])
	}
	if len(now.LoadBalancers) == 0 {
		fmt.Fprintln(out, "\nno Service has a load balancer")
		return nil
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NAMESPACE\tSERVICE\tADDRESS\tLOOPBACK\tPORTS")
	for _, service := range now.LoadBalancers {
		loopback := "none"
		if service.Loopback.IsValid() {
			loopback = service.Loopback.String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", service.Namespace, service.Name, service.Address, loopback, ports(service))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

func ports(service publish.Service) string {
	var words []string
	for _, port := range service.Ports {
		switch {
		case port.Problem != "":
			words = append(words, fmt.Sprintf("%d (%s)", port.Number, port.Problem))
		case !port.Open:
			words = append(words, fmt.Sprintf("%d (closed)", port.Number))
		default:
			words = append(words, fmt.Sprint(port.Number))
		}
	}
	return strings.Join(words, ", ")
}

// running returns the supervisor, or an error that says how to get one.
func running(l layout) (supervisor, error) {
	s, alive, err := findSupervisor(l)
	if err != nil {
		return s, err
	}
	if alive {
		return s, nil
	}
	if s.PID != 0 {
		return s, fmt.Errorf("the cluster in %s crashed; `up` cleans up and starts again", l.dir)
	}
	hint := "run `up`"
	if _, err := os.Stat(l.dir); err != nil {
		hint += ", or name the cluster's directory with --dir"
	}
	return s, fmt.Errorf("no cluster is up in %s; %s", l.dir, hint)
}
