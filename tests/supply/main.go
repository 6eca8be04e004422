// Command supply judges what the program is made of: what govulncheck found, and the licences of a bill of materials.
package main

import (
	"fmt"
	"io"
	"os"
)

// judges read the output of a tool, write what a person should know of it, and answer with an error if it must not stay
// so.
var judges = map[string]func(report io.Reader, to io.Writer) error{
	"vuln":     judgeVulnerabilities,
	"licenses": judgeLicences,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "supply:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 || judges[arguments[0]] == nil {
		return fmt.Errorf("usage: supply vuln FINDINGS.json, or supply licenses SBOM.json")
	}
	report, err := os.Open(arguments[1])
	if err != nil {
		return fmt.Errorf("opening what is to be judged: %w", err)
	}
	defer report.Close()
	return judges[arguments[0]](report, os.Stdout)
}
