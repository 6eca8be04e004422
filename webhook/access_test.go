package webhook

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/policies/verdict"
)

// counting counts the reviews that it hands on, and fails if there is an error.
type counting struct {
	client.Writer
	asked int
	err   error
}

func (c *counting) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	if c.asked++; c.err != nil {
		return c.err
	}
	return c.Writer.Create(ctx, o, options...)
}

func routeIn(namespace string) verdict.Ref {
	return verdict.Ref{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute", Namespace: namespace, Name: "any"}
}

// TestReviewed asks a real API server what a user may read: by the user's groups, for each namespace, and again only
// when the answer is too old.
func TestReviewed(t *testing.T) {
	c := realCluster(t)
	c.namespace(t, "readable", nil)
	c.create(t, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "readers", Namespace: "readable"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"gateway.networking.k8s.io"}, Resources: []string{"httproutes"}, Verbs: []string{"get"},
		}},
	})
	c.create(t, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "readers", Namespace: "readable"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "readers"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "team"}},
	})
	now := time.Now()
	api := &counting{Writer: c.client}
	r := &reviews{
		writer: api, mapper: c.client.RESTMapper(), now: func() time.Time { return now }, kept: map[question]answered{},
	}
	member := authenticationv1.UserInfo{Username: "ann", Groups: []string{"team"}}
	alone := authenticationv1.UserInfo{Username: "ann"}
	expect := func(user authenticationv1.UserInfo, ref verdict.Ref, want bool, asked int) {
		t.Helper()
		got, err := r.ask(t.Context(), user, ref)
		if err != nil || got != want || api.asked != asked {
			t.Errorf("%v may read %s: %t, %v, after %d reviews; want %t after %d", user, ref, got, err, api.asked, want,
				asked)
		}
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) { // The API server learns of roles by a watch.
		if ok, err := r.ask(t.Context(), member, routeIn("readable")); err != nil || ok || time.Since(start) > 10*time.Second {
			break
		}
		clear(r.kept)
	}
	api.asked = 0
	expect(member, routeIn("readable"), true, 0)
	expect(member, routeIn("default"), false, 1)
	expect(alone, routeIn("readable"), false, 2)
	expect(member, verdict.Ref{Kind: "Secret", Namespace: "readable", Name: "any"}, false, 3)
	expect(member, routeIn("default"), false, 3)
	now = now.Add(accessTime)
	expect(member, routeIn("readable"), true, 4)

	if _, err := r.ask(t.Context(), member, verdict.Ref{Group: "example.com", Kind: "Room"}); err == nil {
		t.Error("a kind that nobody knows may be read")
	}
	api.err = errors.New("no answer")
	if ok, err := r.ask(t.Context(), member, routeIn("kube-system")); ok || err == nil {
		t.Errorf("without an answer: %t, %v", ok, err)
	}
	for i := range 2 * maxAccess {
		r.keep(question{namespace: fmt.Sprint(i)}, true)
	}
	if len(r.kept) > maxAccess {
		t.Errorf("%d answers are kept", len(r.kept))
	}
}
