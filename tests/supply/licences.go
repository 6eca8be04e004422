package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gatehouse/tests/supply/bill"
)

// allowed are the licences, by their SPDX identifiers, under which a part of the program may be: they ask for no more
// than to be named.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// read are licences that the bill of materials does not recognise, and somebody has read, by component and version.
var read = map[string]string{"github.com/cenkalti/backoff/v5 v5.0.3": "MIT"}

// judgeLicences fails if a component has a licence that is not allowed, or none that was found.
func judgeLicences(report io.Reader, to io.Writer) error {
	components, err := bill.Read(report)
	if err != nil {
		return err
	}
	count := map[string]int{}
	var bad []string
	for _, c := range components {
		ids := c.Licences()
		if id, known := read[c.Name+" "+c.Version]; known && len(ids) == 0 {
			ids = []string{id}
		}
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
