package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/verdict"
)

// Access reports whether a user may read an object. If the answer is unknown, it returns an error.
type Access func(context.Context, authenticationv1.UserInfo, verdict.Ref) (bool, error)

const (
	// accessTime is how long an answer about a user's rights is used again: for the objects of one apply.
	accessTime = 10 * time.Second
	// maxAccess is the number of answers that are kept.
	maxAccess = 4096
)

// Reviewed asks the API server by SubjectAccessReviews whether users may get all objects of a kind in a namespace. A
// user who may get only some of them by name may not. Answers are kept for a short time, and few of them.
func Reviewed(writer client.Writer, mapper meta.RESTMapper) Access {
	return (&reviews{writer: writer, mapper: mapper, now: time.Now, kept: map[question]answered{}}).ask
}

// reviews has the answers of the API server.
type reviews struct {
	writer client.Writer
	mapper meta.RESTMapper
	now    func() time.Time

	mu   sync.Mutex
	kept map[question]answered
}

// question is about all objects of a kind in a namespace. The user is a hash, because groups and extra may be long.
type question struct {
	user                   [sha256.Size]byte
	group, kind, namespace string
}

type answered struct {
	allowed bool
	until   time.Time
}

func (r *reviews) ask(ctx context.Context, user authenticationv1.UserInfo, ref verdict.Ref) (bool, error) {
	text, err := json.Marshal(user)
	if err != nil {
		return false, fmt.Errorf("encoding user %q: %w", user.Username, err)
	}
	q := question{user: sha256.Sum256(text), group: ref.Group, kind: ref.Kind, namespace: ref.Namespace}
	if known, ok := r.known(q); ok {
		return known, nil
	}
	mapping, err := r.mapper.RESTMapping(schema.GroupKind{Group: ref.Group, Kind: ref.Kind})
	if err != nil {
		return false, fmt.Errorf("finding the resource of kind %s: %w", ref.Kind, err)
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extraOf(user),
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: ref.Namespace, Verb: "get", Group: ref.Group, Resource: mapping.Resource.Resource,
		},
	}}
	if err := r.writer.Create(ctx, review); err != nil {
		return false, fmt.Errorf("asking what user %q may read: %w", user.Username, err)
	}
	allowed := review.Status.Allowed && !review.Status.Denied
	r.keep(q, allowed)
	return allowed, nil
}

func extraOf(user authenticationv1.UserInfo) map[string]authorizationv1.ExtraValue {
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for key, value := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	return extra
}

func (r *reviews) known(q question) (allowed, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.kept[q]
	return a.allowed, ok && r.now().Before(a.until)
}

// keep stores an answer. If there are too many, all of them are forgotten: asking again is cheap.
func (r *reviews) keep(q question, allowed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) >= maxAccess {
		clear(r.kept)
	}
	r.kept[q] = answered{allowed: allowed, until: r.now().Add(accessTime)}
}
