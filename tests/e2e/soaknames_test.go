package e2e

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// owned matches names that say whose object or namespace it is.
var owned = regexp.MustCompile(`\bt(\d)-[a-z0-9-]+`)

// judgeNames fails if an answer names something of a tenant whose objects the author may not read, and that is in no
// version of the object, nor of the object that the line is about if the author may read that one.
func (o *tenant) judgeNames(object, before *unstructured.Unstructured, got reply) {
	own, err := json.Marshal([]*unstructured.Unstructured{object, before})
	if err != nil {
		o.Error(err)
		return
	}
	o.versions.add(object.GetKind()+"/"+object.GetName(), string(own))
	for _, line := range slices.Concat(got.denials, got.warnings) {
		known := string(own)
		if m := about.FindStringSubmatch(line); m != nil && mayRead(o.number, int(m[2][0]-'0')) {
			known += o.versions.of(m[1] + "/" + m[3])
		}
		for _, m := range owned.FindAllStringSubmatch(line, -1) {
			if other := int(m[1][0] - '0'); !mayRead(o.number, other) && !strings.Contains(known, m[0]) {
				o.Errorf("tenant %d may not read what tenant %d has, but is told of %s:\n%s\n%s", o.number, other, m[0], line, known)
			}
		}
	}
	o.counts.addAll("lines judged", len(got.denials)+len(got.warnings))
}

// about matches the start of a line about an object of a tenant.
var about = regexp.MustCompile(`^(\w+)/t(\d)-[^/]+/(\S+) `)

// history has the last versions of each object as text. Several goroutines use it.
type history struct {
	mutex    sync.Mutex
	versions map[string][]string
}

func (h *history) add(object, version string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	last := append(h.versions[object], version)
	h.versions[object] = last[max(0, len(last)-4):]
}

func (h *history) of(object string) string {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return strings.Join(h.versions[object], "\n")
}
