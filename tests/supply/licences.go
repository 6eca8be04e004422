package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// allowed are the licences, by their SPDX identifiers, under which a part of the program may be: they ask for no more than to be named.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// known are the licences of components whose licence is not found where their modules are.
var known = map[string][]string{"std": {"BSD-3-Clause"}} // https://go.dev/LICENSE

// bill is what is read of a bill of materials in CycloneDX.
type bill struct {
	Components []component `json:"components"`
}

type component struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Evidence struct {
		Licenses []struct {
			License struct {
				ID string `json:"id"`
			} `json:"license"`
		} `json:"licenses"`
	} `json:"evidence"`
}

func (c component) licences() []string {
	ids := known[c.Name]
	for _, l := range c.Evidence.Licenses {
		ids = append(ids, l.License.ID)
	}
	return ids
}

// judgeLicences fails if a component has a licence that is not allowed, or none that was found.
func judgeLicences(report io.Reader, to io.Writer) error {
	var b bill
	if err := json.NewDecoder(report).Decode(&b); err != nil {
		return fmt.Errorf("reading the bill of materials: %w", err)
	}
	if len(b.Components) == 0 {
		return errors.New("the bill of materials lists nothing")
	}
	count := map[string]int{}
	var bad []string
	for _, c := range b.Components {
		ids := c.licences()
		for _, id := range ids {
			count[id]++
		}
		if len(ids) == 0 || slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(allowed, id) }) {
			bad = append(bad, fmt.Sprintf("%s %s %v", c.Name, c.Version, ids))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(to, "%4d %s\n", count[id], id)
	}
	if len(bad) > 0 {
		return fmt.Errorf("licences that nobody has allowed (tests/supply/licences.go), or none: %s", strings.Join(bad, "; "))
	}
	return nil
}
