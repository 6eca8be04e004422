package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/translator"
	"gatehouse/xds/view"
)

type translateOptions struct {
	manifestOptions
	format, gateway string
	types           []string
}

func translateCommand() *cobra.Command {
	o := translateOptions{}
	cmd := &cobra.Command{
		Use:   "translate FILE|FOLDER|- ...",
		Short: "Show what Envoy gets for manifests, without a cluster",
		Long: `Show what Envoy gets for manifests, without a cluster.

Translate reads objects as check does, and prints the xDS resources that the control plane would send to the Envoys of
each Gateway. What Envoy's API marks as sensitive, such as private keys and passwords, is replaced by ` + view.Redacted + `.
The output is sorted, so that it can be compared. If something is wrong with the objects, a line on stderr says so, and
the output shows what is served nevertheless.

Exit codes: 0 if a Gateway is translated, 1 if none is, 2 if the files cannot be read or a flag is wrong.`,
		Example: `  # All that Envoy gets
  gatehouse translate deploy/

  # The routes of one Gateway, as JSON
  gatehouse translate deploy/ --gateway shop/web --type route -o json

  # What a cluster has
  gatehouse translate --context production --gateway shop/web`,
		Args: arguments(func(cmd *cobra.Command, paths []string) error {
			if o.cluster.context != "" {
				return nil
			}
			return cobra.MinimumNArgs(1)(cmd, paths)
		}),
		RunE: func(cmd *cobra.Command, paths []string) error { return o.run(cmd, paths) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.format, "output", "o", "yaml", "format: yaml or json")
	flags.StringVar(&o.gateway, "gateway", "", "the only Gateway to show, namespace/name")
	flags.StringSliceVar(&o.types, "type", nil, "the only types to show: "+strings.Join(view.Types(), ", "))
	o.register(flags)
	return cmd
}

// formats are how resources are written.
var formats = map[string]func([]view.Fleet) ([]byte, error){"yaml": view.YAML, "json": view.JSON}

func (o translateOptions) run(cmd *cobra.Command, paths []string) error {
	write, ok := formats[o.format]
	if !ok {
		return usageError{fmt.Errorf("--output: %q is not a format: use yaml or json", o.format)}
	}
	if _, err := view.Of(nil, o.types...); err != nil {
		return usageError{fmt.Errorf("--type: %w", err)}
	}
	stored, err := o.cluster.read(cmd)
	if err != nil {
		return err
	}
	t, err := o.read(stored, paths, cmd.InOrStdin())
	if err != nil {
		return err
	}
	t.warn(cmd, paths)
	if err := t.served(); err != nil {
		return err
	}
	deltas, err := ofGateway(t.Outcome.Deltas, o.gateway)
	if err != nil {
		return err
	}
	fleets, err := view.Of(deltas, o.types...)
	if err != nil {
		return err
	}
	text, err := write(fleets)
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

// ofGateway is what the Envoys of one Gateway get, or of all if it is empty.
func ofGateway(deltas []translator.Delta, gateway string) ([]translator.Delta, error) {
	if gateway == "" {
		return deltas, nil
	}
	var names []string
	for i, d := range deltas {
		if d.Fleet == gateway {
			return deltas[i : i+1], nil
		}
		names = append(names, d.Fleet)
	}
	slices.Sort(names)
	return nil, usageError{fmt.Errorf("--gateway: %q is not translated: use %s", gateway, strings.Join(names, " or "))}
}
