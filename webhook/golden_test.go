package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"gatehouse/api/crdtest"
	"gatehouse/api/definition"
	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestGoldens sends requests to the server over TLS, with real tables. A golden has stored.yaml (objects that are
// stored and in the tables), optionally unseen.yaml (objects that are stored, but not yet in the tables), late.yaml
// (objects that reach the tables after the first try), rules.yaml (rules and exceptions, on the first of January 2026),
// level.txt (the level of the installation) and break-glass.txt (what the annotation may overrule), requests as *.yaml,
// and answers.txt.
func TestGoldens(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no goldens found: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { golden(t, name) })
	}
}

func golden(t *testing.T, name string) {
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Error("the golden begins without a paragraph that tells users what is promised")
	}
	world := newTables(t, part(archive, "stored.yaml"))
	changes, deletions := triers(t, world, part(archive, "late.yaml"))
	there := append(decode(t, part(archive, "stored.yaml")), decode(t, part(archive, "unseen.yaml"))...)
	var got strings.Builder
	s := serve(t, Options{
		Trier: changes, Deletions: deletions, Effective: world.TryEffective, Namespaces: stored(there),
		Exists: existsIn(there), Access: mayRead,
		Level: Level(bytes.TrimSpace(part(archive, "level.txt"))), Events: reported(t, &got),
		BreakGlass: BreakGlass(bytes.TrimSpace(part(archive, "break-glass.txt"))),
		Rules:      rulesOf(t, part(archive, "rules.yaml"), stored(there)),
	})
	for _, f := range archive.Files {
		if filepath.Ext(f.Name) != ".yaml" || slices.Contains([]string{"stored.yaml", "unseen.yaml", "late.yaml", "rules.yaml"}, f.Name) {
			continue
		}
		fmt.Fprintf(&got, "# %s\n", strings.TrimSuffix(f.Name, ".yaml"))
		got.WriteString(told(s.ask(t, f.Data)))
	}
	at := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "answers.txt" })
	if at < 0 {
		t.Fatal("the golden holds no answers.txt")
	}
	if *update {
		archive.Files[at].Data = []byte(got.String())
		if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(archive.Files[at].Data), got.String()); diff != "" {
		t.Errorf("the answers are others (-want +got):\n%s", diff)
	}
}

func part(archive *txtar.Archive, name string) []byte {
	for _, f := range archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// wish is a request in the form of a golden.
type wish struct {
	Operation   admissionv1.Operation `json:"operation"`
	SubResource string                `json:"subResource"`
	Path        string                `json:"path"`
	Object      json.RawMessage       `json:"object"`
	OldObject   json.RawMessage       `json:"oldObject"`
	DryRun      bool                  `json:"dryRun"`
	// User is the name of the user, "somebody" by default.
	User string `json:"user"`
	// Reads are the namespaces in which the user may read everything, by default that of the object.
	Reads []string `json:"reads"`
}

// mayRead grants what the wish says: its namespaces are the groups of the user.
func mayRead(_ context.Context, user authenticationv1.UserInfo, ref verdict.Ref) (bool, error) {
	return slices.Contains(user.Groups, ref.Namespace), nil
}

// ask sends the wish, to ValidatePath by default.
func (s *served) ask(t *testing.T, text []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	w := wish{Operation: admissionv1.Create, Path: ValidatePath, User: "somebody"}
	if err := yaml.Unmarshal(text, &w); err != nil {
		t.Fatal(err)
	}
	named := w.Object
	if len(named) == 0 {
		named = w.OldObject
	}
	object := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(named, object); err != nil {
		t.Fatal(err)
	}
	request := &admissionv1.AdmissionRequest{
		UID: "u1", Kind: metav1.GroupVersionKind(object.GroupVersionKind()), Namespace: object.Namespace, Name: object.Name,
		Operation: w.Operation, SubResource: w.SubResource, DryRun: &w.DryRun,
	}
	request.Object.Raw, request.OldObject.Raw = w.Object, w.OldObject
	if w.Reads == nil {
		w.Reads = []string{object.Namespace}
	}
	request.UserInfo = authenticationv1.UserInfo{Username: w.User, Groups: w.Reads}
	return s.post(t, w.Path, request)
}

// told is an answer in the form that a user reads.
func told(r *admissionv1.AdmissionResponse) string {
	var b strings.Builder
	if r.Allowed {
		b.WriteString("admitted\n")
	} else {
		fmt.Fprintf(&b, "denied, %d %s\n", r.Result.Code, r.Result.Reason)
		for _, line := range strings.Split(r.Result.Message, "\n") {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "Warning: %s\n", w)
	}
	for _, key := range slices.Sorted(maps.Keys(r.AuditAnnotations)) {
		fmt.Fprintf(&b, "audit annotation %s: %s\n", key, r.AuditAnnotations[key])
	}
	var patch []json.RawMessage
	if err := json.Unmarshal(r.Patch, &patch); err == nil {
		// The operations add fields, in any order.
		slices.SortFunc(patch, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
		for _, operation := range patch {
			fmt.Fprintf(&b, "%s: %s\n", *r.PatchType, operation)
		}
	}
	return b.String()
}

// reported writes Events as text.
func reported(t *testing.T, to io.Writer) Events {
	return eventWriter(func(e *corev1.Event) {
		if o := e.InvolvedObject; e.Namespace != o.Namespace || e.Type != corev1.EventTypeWarning {
			t.Errorf("an Event in namespace %s of type %s", e.Namespace, e.Type)
		}
		o := e.InvolvedObject
		fmt.Fprintf(to, "Event %s about %s %s/%s: %s\n", e.Reason, o.Kind, o.Namespace, o.Name, e.Message)
	})
}

type eventWriter func(*corev1.Event)

func (w eventWriter) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	w(o.(*corev1.Event))
	return nil
}

// stored reads objects from memory, like a cache.
func stored(objects []translator.Object) memory { return memory{objects: objects} }

type memory struct {
	client.Reader
	objects []translator.Object
}

func (m memory) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	for _, o := range m.objects {
		if gvkOf(o) == gvkOf(into) && client.ObjectKeyFromObject(o) == key {
			reflect.ValueOf(into).Elem().Set(reflect.ValueOf(o.DeepCopyObject()).Elem())
			return nil
		}
	}
	return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Name)
}

// schemas are those of the CRDs that the program has.
var schemas = sync.OnceValue(func() admissionrule.Schemas {
	crds, err := crdtest.CRDs()
	if err != nil {
		panic(err)
	}
	var mu sync.Mutex
	set := definition.NewSet(crds...)
	return func(kind schema.GroupVersionKind) *structural.Structural {
		mu.Lock()
		defer mu.Unlock()
		known, err := set.Kind(kind)
		if err != nil || known == nil {
			return nil
		}
		return known.Schema
	}
})

// rulesOf returns a book of the rules, or nil if there are none.
func rulesOf(t *testing.T, text []byte, reader memory) *RuleBook {
	t.Helper()
	if len(text) == 0 {
		return nil
	}
	rules := decode(t, text)
	book := NewRuleBook(RuleOptions{
		Live: stored(slices.Concat(reader.objects, rules)), Namespaces: reader, Log: testr.New(t),
		Now:     func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) },
		Schemas: func(context.Context) admissionrule.Schemas { return schemas() },
	})
	for _, o := range rules {
		switch o := o.(type) {
		case *rulesv1alpha1.AdmissionRule:
			book.Put(o)
		case *rulesv1alpha1.AdmissionException:
			book.PutException(o)
		}
	}
	return book
}

func existsIn(objects []translator.Object) Exists {
	return func(_ context.Context, ref verdict.Ref) (bool, error) {
		return slices.ContainsFunc(objects, func(o translator.Object) bool {
			gvk := gvkOf(o)
			return ref == verdict.Ref{Group: gvk.Group, Kind: gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName()}
		}), nil
	}
}

func gvkOf(o client.Object) schema.GroupVersionKind {
	gvks, _, err := scheme.ObjectKinds(o)
	if err != nil {
		panic(err)
	}
	return gvks[0]
}
