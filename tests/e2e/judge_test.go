package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// finding is what the command says in format json.
type finding struct {
	Severity, Group, Kind, Namespace, Name, Field, Reason, Weight, Message string
}

// line is the finding in the words of admission and of the status.
func (f finding) line() string {
	if f.Field == "" {
		return f.Message
	}
	return f.Field + ": " + f.Message
}

// object is the finding's object as messages about others name it.
func (f finding) object() string {
	if f.Namespace == "" {
		return f.Kind + "/" + f.Name
	}
	return f.Kind + "/" + f.Namespace + "/" + f.Name
}

// named is the finding as a message about others says it.
func (f finding) named() string {
	return strings.TrimSpace(f.object()+" "+f.Field) + ": " + f.Message
}

func (f finding) isAbout(o *unstructured.Unstructured) bool {
	return f.Kind == o.GetKind() && f.Group == o.GroupVersionKind().Group && f.Namespace == o.GetNamespace() &&
		f.Name == o.GetName()
}

// byAPIServer reports whether the finding is of the schema: the API server says it, and asks no webhook.
func (f finding) byAPIServer() bool {
	return strings.HasPrefix(f.Reason, "FieldValue") || f.Reason == "UnknownField" || f.Reason == "Unreadable"
}

// check is what the command says about objects.
func check(t *testing.T, objects []*unstructured.Unstructured, flags ...string) []finding {
	t.Helper()
	var input, stderr bytes.Buffer
	for _, o := range objects {
		text, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&input, "---\n%s\n", text)
	}
	cmd := exec.Command(filepath.Join(bin, "gatehouse"), append([]string{"check", "-o", "json", "-"}, flags...)...)
	cmd.Stdin, cmd.Stderr = &input, &stderr
	out, err := cmd.Output()
	var report struct{ Findings []finding }
	if wrong := json.Unmarshal(out, &report); wrong != nil {
		t.Errorf("%v: %v: %s", err, wrong, stderr.String())
	}
	return report.Findings
}

// user creates objects, and hears the API server's warnings.
type user struct {
	client client.Client
	heard  []string
}

// HandleWarningHeader takes a warning.
func (u *user) HandleWarningHeader(_ int, _, text string) { u.heard = append(u.heard, text) }

// mapper is shared by all users: it asks the API server for its kinds.
var mapper struct {
	sync.Mutex
	meta.RESTMapper
}

// newUser is an administrator, or somebody of that name.
func newUser(t *testing.T, name ...string) *user {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	u := &user{}
	config.QPS, config.WarningHandler = -1, u
	if len(name) > 0 {
		config.Impersonate = rest.ImpersonationConfig{UserName: name[0], Groups: []string{"system:authenticated"}}
	}
	mapper.Lock()
	defer mapper.Unlock()
	options := client.Options{Mapper: mapper.RESTMapper}
	if u.client, err = client.New(config, options); err != nil {
		t.Fatal(err)
	}
	mapper.RESTMapper = u.client.RESTMapper()
	return u
}

func (u *user) delete(o *unstructured.Unstructured) error {
	return u.client.Delete(context.Background(), o, client.PropagationPolicy(metav1.DeletePropagationBackground))
}

// reply is the answer to the creation of an object.
type reply struct {
	stored bool
	// refusals are those of the API server itself, byPolicy is what one of its policies says, and denials are the lines of
	// the webhook.
	refusals []string
	byPolicy string
	denials  []string
	warnings []string
}

// sort is what sort of answer it is.
func (r reply) sort() string {
	switch {
	case len(r.refusals) > 0:
		return "refused by the API server"
	case !r.stored:
		return "denied"
	case len(r.warnings) > 0:
		return "warned"
	}
	return "admitted"
}

// byPolicy is what the API server writes before the warning of a ValidatingAdmissionPolicy.
var byPolicy = regexp.MustCompile(`^Validation failed for ValidatingAdmissionPolicy '[^']*' with binding '[^']*': `)

const byWebhook = `admission webhook "`

// create creates an object; a dry run stores nothing.
func (u *user) create(t *testing.T, o *unstructured.Unstructured, dryRun bool) reply {
	t.Helper()
	u.heard = nil
	options := []client.CreateOption{client.FieldValidation(metav1.FieldValidationStrict)}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	return u.answer(t, u.client.Create(context.Background(), o.DeepCopy(), options...))
}

// update is the same for a change of an object.
func (u *user) update(t *testing.T, o *unstructured.Unstructured, dryRun bool) reply {
	t.Helper()
	u.heard = nil
	options := []client.UpdateOption{client.FieldValidation(metav1.FieldValidationStrict)}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	return u.answer(t, u.client.Update(context.Background(), o.DeepCopy(), options...))
}

// answer reads the API server's answer.
func (u *user) answer(t *testing.T, err error) reply {
	t.Helper()
	r := reply{stored: err == nil}
	for _, text := range u.heard {
		r.warnings = append(r.warnings, byPolicy.ReplaceAllString(text, ""))
	}
	slices.Sort(r.warnings)
	r.warnings = slices.Compact(r.warnings)
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return r
	case meta.IsNoMatchError(err):
		r.refusals = refusals(err.Error(), nil)
		return r
	case !errors.As(err, &status):
		t.Error(err)
		return r
	}
	text := status.Status().Message
	var causes []metav1.StatusCause
	if details := status.Status().Details; details != nil {
		causes = details.Causes
	}
	switch {
	case strings.HasPrefix(text, byWebhook):
		for _, c := range causes {
			r.denials = append(r.denials, finding{Field: c.Field, Message: c.Message}.line())
		}
		if len(causes) == 0 {
			r.denials = []string{text}
		}
	case strings.Contains(text, "ValidatingAdmissionPolicy '"):
		r.byPolicy = text
	default:
		r.refusals = refusals(text, causes)
	}
	slices.Sort(r.denials)
	return r
}

// unknown matches what a strict API server says of a field that a kind does not have, and of a version that it does not
// serve.
var unknown = regexp.MustCompile(`unknown field "[^"]*"|no matches for kind "[^"]*" in version "[^"]*"`)

// refusals are what the API server says about the schema.
func refusals(text string, causes []metav1.StatusCause) []string {
	found := unknown.FindAllString(text, -1)
	for _, c := range causes {
		found = append(found, fmt.Sprintf("%s %s: %s", c.Type, strings.Replace(c.Field, "<nil>", "", 1),
			strings.Join(strings.Fields(c.Message), " ")))
	}
	if len(found) == 0 {
		found = append(found, text)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// expectation is what the answer to the creation of an object must be.
type expectation struct {
	refusals, denials, warnings []string
	others                      others
}

// expected is what an object adds to what is known.
func (p *parity) expected(o *unstructured.Unstructured, found []finding) (e expectation) {
	type place struct{ object, field, reason string }
	before := map[place]bool{}
	for _, f := range p.known {
		before[place{f.object(), f.Field, f.Reason}] = true
	}
	for _, f := range found {
		switch {
		case f.isAbout(o) && f.byAPIServer():
			refusal := fmt.Sprintf("%s %s: %s", f.Reason, f.Field, f.Message)
			if text := unknown.FindString(f.Message); text != "" {
				refusal = text
			}
			e.refusals = append(e.refusals, refusal)
		case f.isAbout(o) && f.Severity == "error":
			e.denials = append(e.denials, f.line())
		case f.isAbout(o):
			e.warnings = append(e.warnings, f.line())
		case !before[place{f.object(), f.Field, f.Reason}]:
			if f.Weight != "Invalid" {
				f.Severity = "warning" // Level strict is about the object itself.
			}
			e.others = append(e.others, f)
		}
	}
	for _, lines := range []*[]string{&e.refusals, &e.denials, &e.warnings} {
		slices.Sort(*lines)
		*lines = slices.Compact(*lines)
	}
	return e
}

// others are new findings about other objects.
type others []finding

// counted matches a line that counts other objects.
var counted = regexp.MustCompile(`^(?:spec|data): (?:with this, (\d+|an?) (\w+)|.*\((\d+|an?) (\w+)[^()]*(?:\([^()]*\))? uses? it\)$)`)

// lossOnly ends warnings about others that lose something without being wrong: the command sees no change, so it has none.
const lossOnly = ", or agree with the owners first"

// explain compares lines with those that are expected. What is left must be about others: each of them is named in its
// own words, or counted.
func (all others) explain(want, got []string, what string) string {
	severity := map[string]string{"denials": "error", "warnings": "warning"}[what]
	var missing, surplus []string
	for _, w := range want {
		if i := slices.IndexFunc(got, func(g string) bool { return shows(g, w) }); i >= 0 {
			got = slices.Delete(slices.Clone(got), i, i+1)
		} else {
			missing = append(missing, w)
		}
	}
	expected, told := map[string]bool{}, map[string]int{}
	for _, f := range all {
		if f.Severity == severity {
			expected[f.Kind+" "+f.object()+" "+f.Reason] = true
		}
	}
	wanted := map[string]int{}
	for key := range expected {
		kind, _, _ := strings.Cut(key, " ")
		wanted[kind]++
	}
	named := map[string]bool{}
	for _, g := range got {
		if m := counted.FindStringSubmatch(g); m != nil {
			count, kind := 1, m[2]+m[4]
			if _, err := fmt.Sscan(m[1]+m[3], &count); err == nil {
				kind = singular(kind)
			}
			told[kind] += count
			continue
		}
		i := slices.IndexFunc(all, func(f finding) bool { return shows(g, f.named()) })
		switch {
		case i < 0 && what == "warnings" && strings.HasSuffix(g, lossOnly):
			continue
		case i < 0:
			surplus = append(surplus, g)
			continue
		}
		if key := all[i].object() + " " + all[i].Reason; !named[key] {
			named[key] = true
			told[all[i].Kind]++
		}
	}
	text := ""
	if len(missing)+len(surplus) > 0 {
		text = fmt.Sprintf("%s that only the command has: %q\n%s that only the webhook has: %q\n", what, missing, what, surplus)
	}
	for _, f := range all {
		wanted[f.Kind] += 0
	}
	for kind := range told {
		wanted[kind] += 0
	}
	for kind, n := range wanted {
		if told[kind] < n || told[kind] > n && what == "denials" { // Warnings also count who only loses something.
			text += fmt.Sprintf("%s about others of kind %s: %d by the command, %d by the webhook\n%q\n%q\n", what, kind, n, told[kind], all, got)
		}
	}
	return text
}

func singular(kind string) string {
	if stem, ok := strings.CutSuffix(kind, "ies"); ok {
		return stem + "y"
	}
	return strings.TrimSuffix(kind, "s")
}

// shows reports whether a line is the text. The API server limits warnings, so the webhook leaves out the middle of long
// ones.
func shows(line, text string) bool {
	head, tail, cut := strings.Cut(line, "…")
	return line == text || cut && len([]rune(line)) == 256 && strings.HasPrefix(text, head) && strings.HasSuffix(text, tail)
}

// compareStatuses waits until the statuses say what the command says.
func (p *parity) compareStatuses() {
	var last string
	for end := time.Now().Add(4 * lag); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		last = ""
		problems := 0
		for _, o := range p.stored {
			diff, wrong := p.compareStatus(o)
			last += diff
			if wrong {
				problems++
			}
		}
		if last == "" {
			for range problems {
				p.counts.add("statuses with problems")
			}
			return
		}
	}
	p.Error(last)
}
