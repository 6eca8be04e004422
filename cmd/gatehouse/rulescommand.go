package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/rules"
	"gatehouse/policies/rules/packs"
	"gatehouse/policies/verdict"
	"gatehouse/webhook/offline"
)

// listed is a rule in a list: one of files, of a pack, or a built-in one.
type listed struct {
	name, severity, kinds, from, about string
	// text is what show prints.
	text []byte
}

func rulesCommand() *cobra.Command {
	var paths []string
	root := &cobra.Command{
		Use: "rules", Short: "List and show AdmissionRules, packs of them, and built-in rules", Args: arguments(cobra.NoArgs), RunE: help,
		Example: `  # Rules of a folder, those of all packs, and those that are always in effect
  gatehouse rules list --rules rules/

  # A rule as it is written, for example to change and install it
  gatehouse rules show no-wildcard-hosts > rules/no-wildcard-hosts.yaml`,
	}
	root.PersistentFlags().StringArrayVar(&paths, "rules", nil, "file or folder with AdmissionRules; may be repeated")
	root.AddCommand(&cobra.Command{
		Use: "list", Short: "List rules: what they are about, and what happens if they are violated", Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := readRules(paths)
			if err != nil {
				return err
			}
			return listRules(cmd.OutOrStdout(), all)
		},
	}, &cobra.Command{
		Use: "show NAME", Short: "Show a rule", Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, names []string) error {
			all, err := readRules(paths)
			if err != nil {
				return err
			}
			at := slices.IndexFunc(all, func(l listed) bool { return l.name == names[0] })
			if at < 0 {
				return usageError{fmt.Errorf("no rule %q: gatehouse rules list lists them; --rules reads further ones", names[0])}
			}
			_, err = cmd.OutOrStdout().Write(all[at].text)
			return err
		},
	})
	return root
}

// readRules returns the AdmissionRules of files and then those of packs, and the built-in rules after them.
func readRules(paths []string) ([]listed, error) {
	all, err := platformRules(append(slices.Clone(paths), packs.Names()...))
	if err != nil {
		return nil, err
	}
	builtin, err := rules.BuiltinRules()
	if err != nil {
		return nil, err
	}
	for _, r := range builtin {
		var kinds []string
		for _, k := range r.Kinds {
			kinds = append(kinds, k.Resource)
		}
		text, err := yaml.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("writing rule %s: %w", r.Name, err)
		}
		all = append(all, listed{
			name: r.Name, severity: severityOf(r), kinds: strings.Join(kinds, ","), from: "built in", about: r.About, text: text,
		})
	}
	return all, nil
}

// severityOf says what a built-in rule does with an object: what is Invalid is denied.
func severityOf(r *rules.Rule) string {
	for _, v := range r.Validations {
		if v.Weight == verdict.Invalid.String() {
			return string(rulesv1alpha1.SeverityDeny)
		}
	}
	return string(rulesv1alpha1.SeverityWarn)
}

func platformRules(paths []string) ([]listed, error) {
	crds, _, err := definitions()
	if err != nil {
		return nil, err
	}
	platform, err := offline.ReadPlatform(crds, paths)
	if err != nil {
		return nil, usageError{err}
	}
	for _, f := range platform.Findings {
		if f.Denied {
			return nil, usageError{fmt.Errorf("%s:%d:%d: %s: %s", f.File, f.Line, f.Column, f.Object, f.String())}
		}
	}
	var all []listed
	for _, r := range platform.Rules {
		all = append(all, listed{
			name: r.Source.Name, severity: string(cmp.Or(r.Source.Spec.Severity, rulesv1alpha1.SeverityDeny)),
			kinds: resourcesOf(r.Source), from: fmt.Sprintf("%s:%d", r.File, r.Line), about: r.Help(), text: r.Text,
		})
	}
	return all, nil
}

func resourcesOf(rule *rulesv1alpha1.AdmissionRule) string {
	var names []string
	for _, r := range rule.Spec.MatchConstraints.ResourceRules {
		names = append(names, r.Resources...)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

func listRules(to io.Writer, all []listed) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(table, "NAME\tSEVERITY\tABOUT\tFROM\tWHAT"); err != nil {
		return err
	}
	for _, l := range all {
		row := []string{l.name, l.severity, l.kinds, l.from, l.about}
		if _, err := fmt.Fprintln(table, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return table.Flush()
}
