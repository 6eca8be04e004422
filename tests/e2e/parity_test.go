package e2e

import (
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gatehouse/tests/corpus"
)

// wholeParity is how many changed folders TestParity judges besides all of the corpus. 0 is the short form.
var wholeParity = flag.Int("parity", 0, "changed folders that TestParity judges besides the whole corpus; 0 is a sample of it")

// TestParity: the command, the webhook and the status say the same about each object, in the same words. The objects of a
// folder are created one after the other. For each, the command judges what is stored, without the object and with it.
// What the object adds is what the webhook must say (docs/decisions/087-one-verdict-in-three-places.md has the rules). In the end the command must say about
// everything that is stored what the statuses say.
func TestParity(t *testing.T) {
	folders, err := corpus.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	changer := corpus.NewChanger(1, folders)
	if *wholeParity == 0 {
		folders = slices.DeleteFunc(folders, func(f corpus.Folder) bool { return !slices.Contains(sample, f.Name) })
	}
	goldens := len(folders)
	for i := range max(*wholeParity, 2) {
		folders = append(folders, changer.Change(folders[i%goldens]))
	}
	counts := &tally{count: map[string]int{}}
	t.Run("folders", func(t *testing.T) {
		for i, f := range folders {
			level := []string{"warn", "enforce", "warn", "strict"}[i%4]
			t.Run(fmt.Sprintf("%d %s %s", i, filepath.Base(f.Name), level), func(t *testing.T) {
				t.Parallel()
				newParity(t, f.In(fmt.Sprintf("-p%d", i), map[string]string{levelLabel: level}), counts).run()
			})
		}
	})
	t.Logf("%d folders: %s", len(folders), counts)
	counts.atLeast(t, "objects", map[bool]int{false: 40, true: 1000}[*wholeParity > 0])
	for _, what := range []string{"admitted", "warned", "denied", "refused by the API server", "statuses with problems"} {
		counts.atLeast(t, what, 1)
	}
}

const levelLabel = "gatehouse.dev/admission"

// sample are the folders that the short form judges.
var sample = []string{
	"cmd/gatehouse/testdata/check-policies.txtar", "translator/testdata/layer4.txtar", "translator/testdata/ports.txtar",
	"webhook/offline/apiserver/testdata/broken.yaml", "webhook/testdata/invalid.txtar", "policies/retry/impossible.txtar",
}

// tally counts what has been compared.
type tally struct {
	mutex sync.Mutex
	count map[string]int
}

func (c *tally) add(what string) { c.addAll(what, 1) }

func (c *tally) addAll(what string, n int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.count[what] += n
}

func (c *tally) String() string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(c.count)) {
		all = append(all, fmt.Sprintf("%d %s", c.count[what], what))
	}
	return strings.Join(all, ", ")
}

func (c *tally) atLeast(t *testing.T, what string, least int) {
	t.Helper()
	if c.count[what] < least {
		t.Errorf("%d %s were compared, fewer than %d", c.count[what], what, least)
	}
}

// parity judges one folder in all three ways.
type parity struct {
	*testing.T
	folder corpus.Folder
	counts *tally
	user   *user
	// stored are the objects that have been stored, and known is what the command says about them.
	stored []*unstructured.Unstructured
	known  []finding
}

func newParity(t *testing.T, f corpus.Folder, counts *tally) *parity {
	return &parity{T: t, folder: f, counts: counts, user: newUser(t)}
}

func (p *parity) run() {
	p.Cleanup(func() {
		for _, o := range p.stored {
			if kind := o.GetKind(); kind == "Namespace" || kind == "GatewayClass" {
				_ = p.user.delete(o) // The cluster goes anyway.
			}
		}
	})
	for _, o := range p.folder.Objects {
		p.counts.add("objects")
		if p.put(o); p.Failed() {
			return // What comes later would differ too.
		}
	}
	p.compareStatuses()
}

// put creates an object, first without an effect, and compares the answers with what the command says.
func (p *parity) put(o *unstructured.Unstructured) {
	found := check(p.T, append(slices.Clip(p.stored), o))
	want := p.expected(o, found)
	var got reply
	for end := time.Now().Add(lag); ; time.Sleep(50 * time.Millisecond) {
		if got = p.user.create(p.T, o, true); p.agree(o, want, got) == "" || time.Now().After(end) {
			break
		}
	}
	if diff := p.agree(o, want, got); diff != "" {
		p.Errorf("%s %s, a dry run: %s", o.GetKind(), o.GetName(), diff)
		return
	}
	if got = p.user.create(p.T, o, false); p.agree(o, want, got) != "" {
		p.Errorf("%s %s, after a dry run that was right: %s", o.GetKind(), o.GetName(), p.agree(o, want, got))
		return
	}
	p.counts.add(got.sort())
	if got.stored {
		p.stored, p.known = append(p.stored, o), found
	}
}

// ofContent matches what the webhook says about an object of Kubernetes itself.
var ofContent = regexp.MustCompile(`^(data\b|[A-Z]\w+/)`)

// lag is how long the control plane may take to hear of what has been stored.
const lag = 5 * time.Second

// agree compares what is expected with an answer. It is empty if they are the same.
func (p *parity) agree(o *unstructured.Unstructured, want expectation, got reply) string {
	gatehouse := strings.Contains(o.GetAPIVersion(), "gateway.")
	if len(got.refusals) > 0 && len(want.refusals) == 0 && !gatehouse {
		return "" // Kubernetes' own kinds are validated by the API server alone.
	}
	if diff := cmp.Diff(want.refusals, got.refusals); diff != "" || len(got.refusals) > 0 {
		return ofAPIServer(diff)
	}
	if !gatehouse {
		// So are they warned about by it. What the webhook says is about the data of Secrets and ConfigMaps, or about others.
		got.warnings = slices.DeleteFunc(slices.Clone(got.warnings), func(w string) bool { return !ofContent.MatchString(w) })
	}
	if got.byPolicy != "" {
		// The API server asks its own policies first, and shows one reason.
		if slices.ContainsFunc(want.denials, func(l string) bool { return strings.Contains(got.byPolicy, l) }) {
			return ""
		}
		return fmt.Sprintf("a ValidatingAdmissionPolicy says %q, the command %q", got.byPolicy, want.denials)
	}
	return strings.TrimSpace(want.others.explain(want.denials, got.denials, "denials") +
		want.others.explain(want.warnings, got.warnings, "warnings"))
}

func ofAPIServer(diff string) string {
	if diff == "" {
		return ""
	}
	return "refusals of the API server (-command +API server):\n" + diff
}
