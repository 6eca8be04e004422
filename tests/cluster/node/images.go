package node

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// binaryFor returns the local binary that stands for an image. A pattern that is the name itself comes first, then the
// longest one that matches.
func (c *Config) binaryFor(image string) (string, error) {
	name, _, _ := strings.Cut(path.Base(image), "@")
	bare, _, _ := strings.Cut(name, ":")
	best := ""
	for _, pattern := range slices.Sorted(maps.Keys(c.Images)) {
		if pattern == image || pattern == name || pattern == bare {
			return c.Images[pattern], nil
		}
		for _, candidate := range []string{name, bare} {
			if ok, err := path.Match(pattern, candidate); err == nil && ok && len(pattern) > len(best) {
				best = pattern
			}
		}
	}
	if best == "" {
		return "", fmt.Errorf("no local binary stands for image %q: this node has %s", image,
			strings.Join(slices.Sorted(maps.Keys(c.Images)), ", "))
	}
	return c.Images[best], nil
}
