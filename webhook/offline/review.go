package offline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"gatehouse/api/v1alpha1"
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
)

// Options say how manifests are judged.
type Options struct {
	// Scheme knows the kinds that the control plane reads. Objects of other kinds are counted and not judged.
	Scheme *runtime.Scheme
	// World has empty tables.
	World *translator.World
	// Namespace is for objects that name none.
	Namespace string
	// Level is that of Namespaces whose object is not among the manifests, or has no level.
	Level webhook.Level
}

// Finding is one problem of an object, or of a document that is not one.
type Finding struct {
	Place
	// Object is empty for a document that cannot be read.
	Object verdict.Ref
	verdict.Problem
	// Denied reports whether admission would deny the object for it.
	Denied bool
}

// Review is what is found in manifests.
type Review struct {
	// Findings are in the order of the files and of the lines in them.
	Findings []Finding
	// Judged are the objects that the control plane reads, Ignored counts the others, and NotObjects documents that are
	// not objects at all.
	Judged              []verdict.Ref
	Ignored, NotObjects int
	// Outcome is what the translation makes of the manifests.
	Outcome translator.Outcome
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
	files := &reader{}
	if err := files.read(paths, stdin); err != nil {
		return nil, err
	}
	r := &review{Options: o, documents: map[verdict.Ref]document{}, levels: map[string]webhook.Level{}}
	r.NotObjects = files.others
	for _, b := range files.broken {
		r.Findings = append(r.Findings, Finding{
			Place: b.at, Denied: true,
			Problem: refused(reasonUnreadable, "", b.text+": correct the form of the document"),
		})
	}
	for _, d := range files.documents {
		r.take(d)
	}
	if err := r.judge(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Message, b.Message))
	})
	return &r.Review, nil
}

// review is a Review that is being made.
type review struct {
	Options
	Review
	documents map[verdict.Ref]document
	events    []translator.Event
	levels    map[string]webhook.Level
}

// take decodes an object as admission does, with the defaults that it fills in.
func (r *review) take(d document) {
	gvk, known := r.kind(d.value)
	if !known {
		r.Ignored++
		return
	}
	ref := r.refIn(gvk, d.value)
	object, problems, err := r.decode(gvk, d.value)
	if err != nil {
		r.deny(d, ref, refused(reasonUnreadable, "", oneLine(err)+": correct the form of the object"))
		return
	}
	if !r.World.Knows(object) {
		r.Ignored++
		return
	}
	if ref.Name == "" {
		r.deny(d, ref, refused(reasonUnreadable, "metadata", "the object has no name: write metadata.name"))
		return
	}
	if before, twice := r.documents[ref]; twice {
		at := before.place("")
		r.deny(d, ref, refused(reasonDuplicate, "", fmt.Sprintf("the object is also in %s, line %d: remove one of them",
			at.File, at.Line)))
		return
	}
	object.SetNamespace(ref.Namespace)
	r.documents[ref] = d
	r.Judged = append(r.Judged, ref)
	if level, err := webhook.ParseLevel(object.GetLabels()[webhook.LevelLabel]); ref.Kind == "Namespace" && err == nil {
		r.levels[ref.Name] = level
	}
	for _, p := range problems {
		if p.Reason == reasonUnknownField {
			r.deny(d, ref, p)
		} else {
			r.find(d, ref, p)
		}
	}
	r.events = append(r.events, translator.Event{Object: object})
}

// clusterScoped are the kinds without a namespace among those that the control plane reads.
var clusterScoped = map[string]bool{"GatewayClass": true, "Namespace": true, "ClusterTrustBundle": true}

// refIn names an object that is not decoded yet.
func (r *review) refIn(gvk schema.GroupVersionKind, value map[string]any) verdict.Ref {
	metadata, _ := value["metadata"].(map[string]any)
	ref := verdict.Ref{Group: gvk.Group, Kind: gvk.Kind}
	ref.Name, _ = metadata["name"].(string)
	if clusterScoped[gvk.Kind] {
		return ref
	}
	ref.Namespace, _ = metadata["namespace"].(string)
	ref.Namespace = cmp.Or(ref.Namespace, r.Namespace)
	return ref
}

// kind is the kind of an object in the version that the control plane reads. Versions of one kind have the same fields.
func (r *review) kind(value map[string]any) (schema.GroupVersionKind, bool) {
	version, _ := value["apiVersion"].(string)
	name, _ := value["kind"].(string)
	gvk := schema.FromAPIVersionAndKind(version, name)
	if r.Scheme.Recognizes(gvk) {
		return gvk, true
	}
	versions := r.Scheme.VersionsForGroupKind(gvk.GroupKind())
	if len(versions) == 0 {
		return gvk, false
	}
	return versions[0].WithKind(gvk.Kind), true
}

// decode returns the object, with a problem for each field that its kind does not have, and for each that was filled
// in.
func (r *review) decode(gvk schema.GroupVersionKind, value map[string]any) (object translator.Object,
	problems []verdict.Problem, err error,
) {
	for _, note := range webhook.Default(gvk.GroupKind(), value) {
		field, message, _ := strings.Cut(note, ": ")
		problems = append(problems, verdict.Problem{
			Field: field, Reason: reasonDefaulted, Weight: verdict.Unresolved,
			Message: message,
		})
	}
	value["apiVersion"] = gvk.GroupVersion().String()
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the object: %w", err)
	}
	// Our own kinds keep the fields that they do not know, and the translation reports them.
	if gvk.Group != v1alpha1.GroupName {
		strict, err := r.unknown(gvk, raw)
		if err != nil {
			return nil, nil, err
		}
		problems = append(problems, strict...)
	}
	object, err = webhook.Decode(r.Scheme, gvk, raw)
	return object, problems, err
}

// unknown lists the fields that the API server would refuse: kubectl asks it to be strict.
func (r *review) unknown(gvk schema.GroupVersionKind, raw []byte) ([]verdict.Problem, error) {
	into, err := r.Scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("decoding the object: %w", err)
	}
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return nil, err
	}
	var problems []verdict.Problem
	for _, each := range strict {
		_, field, _ := strings.Cut(each.Error(), `"`)
		field = strings.TrimSuffix(field, `"`)
		name := field[strings.LastIndexByte(field, '.')+1:]
		problems = append(problems, refused(reasonUnknownField, field,
			fmt.Sprintf("%q is no known field: correct its name or remove it", name)))
	}
	return problems, nil
}

// judge gives all objects to the tables at once, so that their order does not matter.
func (r *review) judge() error {
	outcome, err := r.World.Apply(r.events)
	if err != nil {
		return err
	}
	r.Outcome = outcome
	for _, status := range outcome.Statuses {
		ref := r.refOf(status.Object)
		for _, p := range status.Problems {
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
	r.Findings = append(r.Findings, Finding{
		Place: d.place(p.Field), Object: ref, Problem: p,
		Denied: level.Denies(p.Weight) && !p.Pending,
	})
}

// deny takes a problem for which the API server would refuse the object itself, whatever the level is.
func (r *review) deny(d document, ref verdict.Ref, p verdict.Problem) {
	r.Findings = append(r.Findings, Finding{Place: d.place(p.Field), Object: ref, Problem: p, Denied: true})
}

func refused(reason, field, message string) verdict.Problem {
	return verdict.Problem{Field: field, Reason: reason, Weight: verdict.Invalid, Message: message}
}

// oneLine is the text of an error without line breaks.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
