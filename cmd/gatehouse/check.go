package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/api/config"
	"gatehouse/controller/kube"
	"gatehouse/manifests"
	"gatehouse/translator"
	"gatehouse/webhook"
	"gatehouse/webhook/offline"
	"gatehouse/webhook/report"
)

// errDenied ends a check that found something. The report has said what.
var errDenied = errors.New("admission would deny some of these objects")

// definitions are the CRDs that the program brings with it, and whether those of Gateway API are among them. Tests replace
// it, because only make builds them in.
var definitions = manifests.CRDs

type checkOptions struct {
	format, level, namespace, config string
	// rules are files, folders and packs.
	rules []string
	// baseline and written are the files of known findings to read and to write.
	baseline, written string
	cluster           liveCluster
}

func checkCommand() *cobra.Command {
	o := checkOptions{}
	cmd := &cobra.Command{
		Use:   "check FILE|FOLDER|- ...",
		Short: "Judge manifests as admission would, without a cluster",
		Long: `Judge manifests as admission would, without a cluster.

Check reads objects from files and folders, or from stdin with "-", and translates them as the control plane does. It
prints what admission and the status of the objects would say, with the line that each problem is about. All objects
count as stored, in any order: what is in none of the files is missing. The label ` + webhook.LevelLabel + ` of a Namespace
in the files sets the level there.

With --context, everything that the cluster has stored counts too, as far as the files do not replace it. Objects of the
files are then judged as changes of the cluster, and check warns about objects of the cluster that they break.

Exit codes: 0 if admission would deny nothing, 1 if it would, 2 if the files cannot be read or a flag is wrong.`,
		Example: `  # What is wrong with a folder
  gatehouse check deploy/

  # With what kustomize or helm write, warnings count too
  kustomize build overlays/production | gatehouse check --level strict -

  # Annotations in a pull request on GitHub
  gatehouse check --output github deploy/

  # With the rules of the platform and a pack of them
  gatehouse check --rules ../platform/rules --rules no-wildcard-hosts deploy/

  # Only what is new
  gatehouse check --write-baseline known.json deploy/
  gatehouse check --baseline known.json deploy/

  # As a change of a cluster
  gatehouse check --context production deploy/

  # A report for code scanning
  gatehouse check --output sarif deploy/ > gatehouse.sarif`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, paths []string) error { return o.run(cmd, paths) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.format, "output", "o", "text", "format of the report: "+strings.Join(report.Formats(), ", "))
	flags.StringVar(&o.level, "level", string(webhook.LevelEnforce),
		"what is denied: off, warn, enforce or strict, as the label "+webhook.LevelLabel+" of a Namespace says")
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "namespace of objects that name none")
	flags.StringVar(&o.config, "config", "", "configuration file of the control plane; without it its defaults hold")
	flags.StringVar(&o.baseline, "baseline", "", "report in format json, whose findings pass and are only counted")
	flags.StringVar(&o.written, "write-baseline", "", "file to write with all findings, which pass then")
	flags.StringArrayVar(&o.rules, "rules", nil,
		"file, folder or pack with AdmissionRules, in addition to those among the files; may be repeated")
	o.cluster.register(flags)
	return cmd
}

func (o checkOptions) run(cmd *cobra.Command, paths []string) error {
	if o.baseline != "" && o.written != "" {
		return usageError{errors.New("--baseline and --write-baseline exclude each other: leave out one of the two")}
	}
	level, err := webhook.ParseLevel(o.level)
	if err != nil {
		return usageError{fmt.Errorf("--level: %w", err)}
	}
	if err := validNamespace(o.namespace); err != nil {
		return err
	}
	write, err := report.In(o.format)
	if err != nil {
		return usageError{fmt.Errorf("--output: %w", err)}
	}
	c := config.Default()
	if o.config != "" {
		if c, err = config.Load(o.config); err != nil {
			return usageError{err}
		}
	}
	tables, err := newTables(c, translator.Settings{})
	if err != nil {
		return err
	}
	review, err := o.review(cmd, tables, level, paths)
	if err != nil {
		return err
	}
	if err := write(cmd.OutOrStdout(), review); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if review.Denied() > 0 {
		return errDenied
	}
	return nil
}

// review reviews the files. Findings of the baseline are left out.
func (o checkOptions) review(cmd *cobra.Command, tables *translator.Tables, level webhook.Level, paths []string) (
	*offline.Review, error,
) {
	known := report.Baseline{}
	if o.baseline != "" {
		text, err := os.ReadFile(o.baseline)
		if err != nil {
			return nil, usageError{fmt.Errorf("--baseline: %w", err)}
		}
		if known, err = report.ReadBaseline(text); err != nil {
			return nil, usageError{fmt.Errorf("--baseline: %s: %w", o.baseline, err)}
		}
	}
	crds, complete, err := definitions()
	if err != nil {
		return nil, err
	}
	if !complete {
		cmd.PrintErrln("gatehouse: built without the CRDs of Gateway API, so its objects are not validated by them: " +
			"build with make, or check the CRDs too")
	}
	stored, err := o.cluster.read(cmd)
	if err != nil {
		return nil, err
	}
	shown, fit := newProgress(cmd.ErrOrStderr()), spareCollector()
	review, err := offline.Files(offline.Options{
		Scheme: kube.NewScheme(), World: translator.NewWorld(tables), CRDs: crds, Rules: o.rules,
		Namespace: o.namespace, Level: level, Progress: func(stage string, done, all int) {
			fit()
			shown.stage(stage, done, all)
		}, Stored: stored, OnlyNew: true,
	}, paths, cmd.InOrStdin())
	shown.end()
	if err != nil {
		return nil, usageError{err}
	}
	if o.written != "" {
		if err := writeBaseline(o.written, review); err != nil {
			return nil, usageError{fmt.Errorf("--write-baseline: %w", err)}
		}
		known = report.BaselineOf(review)
	}
	known.Apply(review)
	return review, nil
}

func writeBaseline(name string, review *offline.Review) error {
	write, err := report.In("json")
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := write(&text, review); err != nil {
		return err
	}
	return os.WriteFile(name, text.Bytes(), 0o644)
}
