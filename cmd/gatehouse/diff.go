package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/webhook/offline"
	"gatehouse/xds/compare"
)

// errChanges ends a diff that found something. The report has said what.
var errChanges = errors.New("the traffic changes")

type diffOptions struct {
	manifestOptions
	format string
	xds    bool
}

func diffCommand() *cobra.Command {
	o := diffOptions{manifestOptions: manifestOptions{unvalidated: true}}
	cmd := &cobra.Command{
		Use:   "diff OLD NEW | --context NAME NEW",
		Short: "Say what a change of manifests does to the traffic, without a cluster",
		Long: `Say what a change of manifests does to the traffic, without a cluster.

OLD and NEW are files or folders, stdin with "-", or paths in a revision of Git such as main:deploy/. Diff translates both
as the control plane does, and compares what Envoys get: listeners, hosts and whose they are, routes that are added,
removed, changed, tried in another order, or get no request any more because another one takes them all, policies that
take effect or no longer do, TLS, and problems.

With --context, OLD is what the cluster has stored, and NEW is the same with the objects of the files. Diff does not know
which objects of the cluster would be deleted.

Exit codes: 0 if nothing changes, 1 if something does, 2 if the files cannot be read or a flag is wrong.`,
		Example: `  # What the working tree changes
  gatehouse diff main:deploy/ deploy/

  # A comment for a pull request
  gatehouse diff origin/main:deploy/ HEAD:deploy/ -o markdown

  # What files change in a cluster
  gatehouse diff --context production deploy/

  # What Envoy gets, as a unified diff
  gatehouse diff old/ new/ --xds`,
		Args: arguments(func(cmd *cobra.Command, args []string) error {
			if o.cluster.context != "" {
				return cobra.ExactArgs(1)(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		}),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.format, "output", "o", "text", "format of the report: text, markdown or json")
	flags.BoolVar(&o.xds, "xds", false, "show the resources of Envoy that change, instead of the report")
	o.register(flags)
	return cmd
}

// reports are the formats of reports.
var reports = map[string]func(*compare.Report, io.Writer) error{
	"text": (*compare.Report).Text, "markdown": (*compare.Report).Markdown, "json": (*compare.Report).JSON,
}

func (o *diffOptions) run(cmd *cobra.Command, args []string) error {
	write, ok := reports[o.format]
	switch {
	case !ok:
		return usageError{fmt.Errorf("--output: %q is not a format: use text, markdown or json", o.format)}
	case o.xds && o.format != "text":
		return usageError{fmt.Errorf("--xds is a unified diff: leave out --output")}
	case len(args) == 2 && args[0] == "-" && args[1] == "-":
		return usageError{errors.New("only one of the two can be stdin")}
	}
	sides, err := o.sides(cmd, args)
	if err != nil {
		return err
	}
	if o.xds {
		differ, err := compare.Resources(cmd.OutOrStdout(), sides[0].Deltas, sides[1].Deltas)
		return changed(differ, err)
	}
	report, err := compare.Compare(sides[0], sides[1])
	if err != nil {
		return err
	}
	return changed(!report.Empty(), write(report, cmd.OutOrStdout()))
}

func changed(differ bool, err error) error {
	if err == nil && differ {
		return errChanges
	}
	return err
}

// sides translates both: two arguments, or a cluster without and with the only one.
func (o *diffOptions) sides(cmd *cobra.Command, args []string) (sides [2]*compare.Side, err error) {
	stored, err := o.cluster.read(cmd)
	if err != nil {
		return sides, err
	}
	if stored != nil {
		args = []string{"", args[0]}
	}
	for i, argument := range args {
		if sides[i], err = o.side(stored, argument, cmd.InOrStdin()); err != nil {
			return sides, err
		}
	}
	return sides, nil
}

// side translates one of the two. Without an argument it is the cluster as it is.
func (o *diffOptions) side(stored *offline.Stored, argument string, stdin io.Reader) (*compare.Side, error) {
	path := argument
	if v := revisionOf(argument); v != nil {
		dir, err := os.MkdirTemp("", "gatehouse-diff-")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if path, err = v.checkOut(dir); err != nil {
			return nil, usageError{err}
		}
	}
	var paths []string
	if path != "" {
		paths = []string{path}
	}
	t, err := o.read(stored, paths, stdin)
	if err != nil {
		return nil, err
	}
	side := &compare.Side{Deltas: t.Outcome.Deltas, Served: t.world.Served(), Listeners: t.world.Listeners()}
	for _, f := range t.Findings {
		p := compare.Problem{Object: f.Object, Field: f.Field, Message: f.Message}
		if f.Object.Kind == "" { // It is about a document, and both sides may have it in files of other folders.
			p.Object.Kind, p.Object.Name = "file", strings.TrimPrefix(strings.TrimPrefix(f.File, path), "/")
		}
		side.Problems = append(side.Problems, p)
	}
	return side, nil
}
