package offline

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"gatehouse/api/definition"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/effective"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// Reasons of problems that the translation does not see, because an API server would not store such an object.
const (
	reasonUnreadable   = "Unreadable"
	reasonUnknownField = "UnknownField"
	reasonDuplicate    = "Duplicate"
	reasonDefaulted    = "Defaulted"
	reasonPolicy       = "AdmissionPolicy"
)

// Options say how manifests are judged.
type Options struct {
	// Scheme knows the kinds that the control plane reads. Objects of other kinds are only judged by their CRD.
	Scheme *runtime.Scheme
	// CRDs are those of the cluster. Those among the manifests replace CRDs of the same kinds.
	CRDs []*apiextensionsv1.CustomResourceDefinition
	// Rules are files, folders and names of packs with rules of the platform. Those among the manifests hold too.
	Rules []string
	// Stored is what a cluster has, as background; nil for none. With OnlyNew, only those problems of its objects are
	// reported that the manifests add.
	Stored  *Stored
	OnlyNew bool
	// World has empty tables.
	World *translator.World
	// Namespace is for objects that name none.
	Namespace string
	// Level is that of Namespaces whose object is not among the manifests, or has no level.
	Level webhook.Level
	// Progress is told how much of a stage is done; nil is allowed.
	Progress func(stage string, done, all int)
}

// Finding is one problem of an object, or of a document that is not one.
type Finding struct {
	Place
	// Object is empty for a document that cannot be read.
	Object verdict.Ref
	verdict.Problem
	// Denied reports whether admission would deny the object for it, and Noted whether it would tell the user nothing.
	Denied, Noted bool
	// Stored reports whether the object is one of the cluster, and not of the manifests.
	Stored bool
	// Rule is the AdmissionRule whose finding it is, if it is one, and Help what its owner says about it.
	Rule, Help string
	// Fingerprint names the finding by its object, field without indexes, and reason, and not by its line and words, so that
	// it stays the same when lines and entries of lists move. Several such findings are counted.
	Fingerprint string
}

// Review is what is found in manifests.
type Review struct {
	// Findings are in the order of the files and of the lines in them.
	Findings []Finding
	// Old counts the findings that a baseline has passed.
	Old int
	// Judged are the objects that the control plane reads, or whose CRD is known. Ignored counts the others, and
	// NotObjects documents that are not objects at all.
	Judged              []verdict.Ref
	Ignored, NotObjects int
	// Outcome is what the translation makes of the manifests.
	Outcome translator.Outcome

	// documents are those of the objects, without their content.
	documents map[verdict.Ref]document
}

// Place finds a field of an object, or the innermost field on the way to it, if the object is among the manifests.
func (r *Review) Place(object verdict.Ref, field string) (Place, bool) {
	d, ok := r.documents[object]
	if !ok {
		return Place{}, false
	}
	return d.place(field), true
}

// File is the file of an object, if the object is among the manifests.
func (r *Review) File(object verdict.Ref) string {
	if d, ok := r.documents[object]; ok {
		return d.source.name
	}
	return ""
}

// Denied counts the findings for which admission would deny an object.
func (r *Review) Denied() (count int) {
	for _, f := range r.Findings {
		if f.Denied {
			count++
		}
	}
	return count
}

// Files reviews files and folders; "-" is stdin. It returns an error if one of them cannot be read at all.
func Files(o Options, paths []string, stdin io.Reader) (*Review, error) {
	files := &reader{limit: maxInput}
	if err := files.read(paths, stdin); err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	r := newReview(o)
	r.NotObjects = files.others
	r.broken(files.broken)
	stored := r.background(files.documents)
	r.prepare(slices.Concat(stored, files.documents))
	if err := r.regulate(files.documents, stored); err != nil {
		return nil, err
	}
	for _, d := range stored {
		r.hold(d)
	}
	r.takeAll(files.documents)
	if err := r.judge(); err != nil {
		return nil, err
	}
	if err := r.survey(); err != nil {
		return nil, err
	}
	r.place()
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Message, b.Message))
	})
	r.number()
	return &r.Review, nil
}

// review is a Review that is being made.
type review struct {
	Options
	Review
	definitions *definition.Set
	policies    *policies
	platform    *Platform
	// found is what is found in objects, in this order. Places are looked up at the end.
	found []found
	// asked are the objects that rules about the effective configuration are asked of, and refused those that no rule is.
	asked   []asked
	refused map[effective.Object]bool
	// earlier is the effective configuration of the cluster without the manifests. It is nil unless OnlyNew is set.
	earlier *effective.Configuration
	// held are the objects of the cluster, and events those of the manifests.
	held, events []translator.Event
	// before are stored objects that one of the manifests replaces, in JSON. known are the problems that need no report.
	before map[verdict.Ref][]byte
	known  map[knownProblem]bool
	now    time.Time
	forms  *forms
	levels map[string]webhook.Level
	// invalid are the fields that the CRD of an object refuses.
	invalid map[verdict.Ref][]string
}

func newReview(o Options) *review {
	r := &review{
		Options: o, levels: map[string]webhook.Level{}, invalid: map[verdict.Ref][]string{},
		before: map[verdict.Ref][]byte{}, known: map[knownProblem]bool{}, now: time.Now(),
		refused: map[effective.Object]bool{},
	}
	r.documents = map[verdict.Ref]document{}
	r.forms = &forms{schemas: r.schemaOf, known: map[schema.GroupVersionKind]*admissionrule.Form{}}
	return r
}

// broken reports what cannot be read.
func (r *review) broken(all []unreadable) {
	for _, b := range all {
		r.found = append(r.found, found{Finding: Finding{
			Place: b.at, Denied: true,
			Problem: refused(reasonUnreadable, "", b.text+": correct the form of the document"),
		}})
	}
}

// prepare reads the objects among the documents that say how others are judged.
func (r *review) prepare(documents []document) {
	crds := slices.Clone(r.CRDs)
	for _, d := range documents {
		switch d.kind.GroupKind() {
		case schema.GroupKind{Kind: "Namespace"}:
			namespace := &metav1.PartialObjectMetadata{}
			if err := json.Unmarshal(d.raw, namespace); err != nil {
				continue // The steps report it.
			}
			r.level(d, namespace)
		case schema.GroupKind{Group: apiextensionsv1.GroupName, Kind: "CustomResourceDefinition"}:
			crd := &apiextensionsv1.CustomResourceDefinition{}
			if err := json.Unmarshal(d.raw, crd); err != nil {
				r.deny(d, verdict.Ref{Group: d.kind.Group, Kind: d.kind.Kind, Name: crd.Name},
					refused(reasonUnreadable, "", oneLine(err)+": correct the form of the object"))
				continue
			}
			crds = append(crds, crd)
		}
	}
	r.definitions = definition.NewSet(crds...)
	r.policies = r.newPolicies(documents)
}

// level takes the level that a Namespace says. If it says another word, admission warns at each object that is there.
func (r *review) level(d document, namespace *metav1.PartialObjectMetadata) {
	name, given := namespace.Labels[webhook.LevelLabel]
	level, err := webhook.ParseLevel(name)
	switch {
	case err == nil:
		r.levels[namespace.Name] = level
	case given && !d.stored:
		r.warn(d, r.headOf(d), verdict.Problem{
			Field: "metadata.labels[" + webhook.LevelLabel + "]", Reason: "Invalid", Weight: verdict.Unresolved,
			Message: err.Error(),
		})
	}
}

// take does the steps with an object.
func (r *review) take(d document) {
	o := &object{document: d, ref: verdict.Ref{Group: d.kind.Group, Kind: d.kind.Kind}}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(d.raw, &o.value); err != nil {
		r.deny(d, o.ref, refused(reasonUnreadable, "", oneLine(err)+": correct the form of the object"))
		return
	}
	for _, step := range r.steps() {
		if !step(o) {
			return
		}
	}
	r.events = append(r.events, translator.Event{Object: o.typed})
}

// entryIndex is that of an entry of a list in a field. Entries move when others come before them, and are still the same.
var entryIndex = regexp.MustCompile(`\[[0-9]+\]`)

// number gives findings their fingerprints.
func (r *review) number() {
	counts := map[string]int{}
	for i := range r.Findings {
		f := &r.Findings[i]
		about := []string{f.Object.Group, f.Object.String(), entryIndex.ReplaceAllString(f.Field, "[]"), f.Reason}
		if f.Object.Kind == "" {
			about = append(about, f.File)
		}
		if f.Rule != "" {
			about = append(about, f.Rule)
		}
		key := strings.Join(about, "\x00")
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", key, counts[key]))
		f.Fingerprint = hex.EncodeToString(sum[:16])
		counts[key]++
	}
}

// judge gives all objects to the tables at once, so that their order does not matter.
func (r *review) judge() error {
	r.Progress("translating objects", 0, len(r.held)+len(r.events))
	events, err := r.applyBackground()
	if err != nil {
		return err
	}
	outcome, err := r.World.Apply(events)
	if err != nil {
		return err
	}
	r.Outcome = outcome
	for _, status := range outcome.Statuses {
		ref := r.refOf(status.Object)
		for _, p := range status.Problems {
			if said(r.invalid[ref], p.Field) || r.untold(ref, p) {
				continue
			}
			r.find(r.documents[ref], ref, p)
		}
	}
	return nil
}

func (r *review) refOf(object translator.Object) verdict.Ref {
	ref := verdict.Ref{Namespace: object.GetNamespace(), Name: object.GetName()}
	if gvks, _, err := r.Scheme.ObjectKinds(object); err == nil && len(gvks) > 0 {
		ref.Group, ref.Kind = gvks[0].Group, gvks[0].Kind
	}
	return ref
}

// find takes a problem that admission denies or warns about, as the level of the namespace says.
func (r *review) find(d document, ref verdict.Ref, p verdict.Problem) {
	level := cmp.Or(r.levels[ref.Namespace], r.Level)
	r.report(d, p.Field, Finding{
		Object: ref, Problem: p, Denied: level.Denies(p.Weight) && !p.Pending && !d.stored, Stored: d.stored,
	})
}

// deny takes a problem for which the API server would refuse the object itself, whatever the level is.
func (r *review) deny(d document, ref verdict.Ref, p verdict.Problem) {
	r.report(d, p.Field, Finding{Object: ref, Problem: p, Denied: true})
}

// warn takes a problem that the API server only warns about, whatever the level is.
func (r *review) warn(d document, ref verdict.Ref, p verdict.Problem) {
	r.report(d, p.Field, Finding{Object: ref, Problem: p})
}

func refused(reason, field, message string) verdict.Problem {
	return verdict.Problem{Field: field, Reason: reason, Weight: verdict.Invalid, Message: message}
}

// oneLine is the text of an error without line breaks.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
