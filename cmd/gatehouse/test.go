package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/api/config"
	"gatehouse/controller/kube"
	"gatehouse/translator"
	"gatehouse/webhook/ruletest"
)

// errFailed ends a run of tests of which one failed. The lines before have said which.
var errFailed = errors.New("not all rules say what the tests expect")

func testCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test FILE ...",
		Short: "Run tests of AdmissionRules",
		Long: `Run tests of AdmissionRules.

Each file names rules, and has objects with what the rules must say about them:

  rules: [hostnames.yaml]       # files or folders, from this file on
  tests:
  - name: a foreign hostname is denied
    object: {apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, ...}
    expect:
    - {rule: hostnames, outcome: deny, field: spec.hostnames, message: use a hostname of your team}

Tests of rules that read effective need a list stored: objects, files and folders that are in the cluster. An oldObject
makes a test an update, or a deletion if there is no object.

Exit codes: 0 if all tests pass, 1 if one fails, 2 if a file cannot be read.`,
		Example: `  # All tests of a folder
  gatehouse test rules/*_test.yaml`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			crds, _, err := definitions()
			if err != nil {
				return err
			}
			tables, err := newTables(config.Default(), translator.Settings{})
			if err != nil {
				return err
			}
			o := ruletest.Options{
				CRDs: crds, Scheme: kube.NewScheme(), NewWorld: func() *translator.World { return translator.NewWorld(tables) },
			}
			var passed, failed int
			for _, name := range files {
				result, err := o.Run(cmd.Context(), name, cmd.OutOrStdout())
				if err != nil {
					return usageError{err}
				}
				passed, failed = passed+result.Passed, failed+result.Failed
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%d passed, %d failed\n", passed, failed); err != nil {
				return err
			}
			if failed > 0 {
				return errFailed
			}
			return nil
		},
	}
}
