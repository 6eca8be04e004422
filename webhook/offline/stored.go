package offline

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/verdict"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// Stored is what a cluster has stored, as background for manifests. Manifests win over stored objects of the same name.
type Stored struct {
	// Name says which cluster it is.
	Name string
	// Objects are in JSON, with apiVersion and kind. They are not validated again.
	Objects [][]byte
	// Hidden are the kinds whose objects the user may not list. Nothing is reported as missing that is of such a kind.
	Hidden []schema.GroupKind
	// Unserved are the kinds that the cluster does not serve.
	Unserved []schema.GroupKind
	// User is whose requests the manifests are.
	User user.DefaultInfo
}

// user is whose requests the manifests are: in files it is nobody, which API servers call anonymous.
func (r *review) user() *user.DefaultInfo {
	if r.Stored != nil {
		return &r.Stored.User
	}
	return &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}
}

// page is how many objects the API server is asked for at once.
const page = 500

// ReadStored lists the objects of some kinds. It returns an error if the API server cannot be asked, or if there is more
// than is read of files. A kind that the user may not list, or that is not served, is none.
func ReadStored(ctx context.Context, from client.Client, name string, kinds []schema.GroupKind,
	progress func(stage string, done, all int),
) (*Stored, error) {
	s := &Stored{Name: name}
	if err := s.askUser(ctx, from); err != nil {
		return nil, fmt.Errorf("asking who you are: %w", err)
	}
	left := maxInput
	for i, kind := range kinds {
		progress("reading the cluster", i, len(kinds))
		switch err := s.list(ctx, from, kind, &left); {
		case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
			s.Unserved = append(s.Unserved, kind)
		case apierrors.IsForbidden(err):
			s.Hidden = append(s.Hidden, kind)
		case err != nil:
			return nil, fmt.Errorf("reading objects of kind %s: %w", kind, err)
		}
	}
	return s, nil
}

// askUser asks the API server who sends requests.
func (s *Stored) askUser(ctx context.Context, cluster client.Client) error {
	review := &unstructured.Unstructured{}
	review.SetGroupVersionKind(authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"))
	if err := cluster.Create(ctx, review); err != nil {
		return err
	}
	answer := &authenticationv1.SelfSubjectReview{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(review.Object, answer); err != nil {
		return err
	}
	info := answer.Status.UserInfo
	s.User = user.DefaultInfo{Name: info.Username, UID: info.UID, Groups: info.Groups, Extra: map[string][]string{}}
	for key, values := range info.Extra {
		s.User.Extra[key] = values
	}
	return nil
}

// list reads the objects of a kind in the version that the cluster prefers.
func (s *Stored) list(ctx context.Context, from client.Client, kind schema.GroupKind, left *int) error {
	mapping, err := from.RESTMapper().RESTMapping(kind)
	if err != nil {
		return err
	}
	options := &client.ListOptions{Limit: page}
	if kind == (schema.GroupKind{Kind: "Secret"}) {
		// Secrets in which Helm keeps its releases have up to 1 MiB each.
		options.FieldSelector = fields.OneTermNotEqualSelector("type", "helm.sh/release.v1")
	}
	for {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := from.List(ctx, list, options); err != nil {
			return err
		}
		for i := range list.Items {
			o := &list.Items[i]
			o.SetManagedFields(nil)
			raw, err := json.Marshal(o.Object)
			if err != nil {
				return err
			}
			if *left -= len(raw); *left < 0 {
				return fmt.Errorf("the cluster has more than %d MiB of such objects", maxInput>>20)
			}
			s.Objects = append(s.Objects, raw)
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// background returns the stored objects that none of the manifests replaces, and remembers those that one does.
func (r *review) background(manifests []document) []document {
	if r.Stored == nil {
		return nil
	}
	replaced := map[verdict.Ref]bool{}
	for _, d := range manifests {
		replaced[r.headOf(d)] = true
	}
	files := &reader{limit: maxInput}
	at := newSource(r.Stored.Name, nil)
	for _, raw := range r.Stored.Objects {
		files.object(document{source: at, raw: raw, stored: true})
	}
	return slices.DeleteFunc(files.documents, func(d document) bool {
		ref := r.headOf(d)
		if replaced[ref] {
			r.before[ref] = d.raw
		}
		return replaced[ref]
	})
}

// hold takes a stored object, which the API server has validated and admission has judged.
func (r *review) hold(d document) {
	if !r.reads(d.kind) {
		return
	}
	typed, err := webhook.Decode(r.Scheme, r.version(d.kind), d.raw)
	if err != nil {
		return // The control plane does not read it either, and says so in its log.
	}
	r.documents[r.headOf(d)] = d.located()
	r.held = append(r.held, translator.Event{Object: typed})
}

// age gives an object the age that it has if the cluster stores it now. Who is older wins many conflicts.
func (r *review) age(o *object, metadata map[string]any) {
	if r.Stored == nil {
		return
	}
	created := r.now.UTC().Format(time.RFC3339)
	if raw, ok := r.before[o.ref]; ok {
		old := &metav1.PartialObjectMetadata{}
		if err := json.Unmarshal(raw, old); err == nil {
			created = old.CreationTimestamp.UTC().Format(time.RFC3339)
			metadata["uid"] = string(old.UID)
		}
		_ = utiljson.Unmarshal(raw, &o.old) // Objects of an API server are objects.
	}
	metadata["creationTimestamp"] = created
}

// applyBackground gives the stored objects to the tables, and returns the events that remain. If only what is new is to
// be reported about stored objects, the problems that they have before are remembered.
func (r *review) applyBackground() ([]translator.Event, error) {
	events := r.served()
	if !r.OnlyNew {
		return slices.Concat(events, r.held, r.events), nil
	}
	outcome, err := r.World.Apply(append(events, r.held...))
	if err != nil {
		return nil, err
	}
	if len(r.asked) > 0 {
		if r.earlier, err = r.World.Effective(context.Background()); err != nil {
			return nil, fmt.Errorf("telling what takes effect: %w", err)
		}
	}
	for _, status := range outcome.Statuses {
		ref := r.refOf(status.Object)
		for _, p := range status.Problems {
			r.known[knownProblem{ref, p.Field, p.Message}] = true
		}
	}
	return r.events, nil
}

// served are the kinds that this cluster serves and others do not. Files do not say it, so all of them count as served.
func (r *review) served() []translator.Event {
	kind := &translator.ClusterTrustBundles
	if r.Stored != nil && slices.Contains(r.Stored.Unserved, *kind) {
		return nil
	}
	return []translator.Event{{Served: kind}}
}

// knownProblem is a problem that a stored object has without the manifests.
type knownProblem struct {
	object         verdict.Ref
	field, message string
}

// untold reports whether a problem is not reported: a stored object had it before, or its cause is that the user may not
// read something.
func (r *review) untold(ref verdict.Ref, p verdict.Problem) bool {
	if r.known[knownProblem{ref, p.Field, p.Message}] {
		return true
	}
	return r.Stored != nil && p.Missing != nil &&
		slices.Contains(r.Stored.Hidden, schema.GroupKind{Group: p.Missing.Group, Kind: p.Missing.Kind})
}
