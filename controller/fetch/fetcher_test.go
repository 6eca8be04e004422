package fetch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/infra/kubetest"
	"gatehouse/translator"
)

var server kubetest.Server

func TestMain(m *testing.M) { kubetest.Run(m, &server) }

// TestEveryReplicaHasWhatTheLeaderFetches: also one that starts later, while the source does not answer and the content
// should be fetched again. It continues to have the content, and gets the newer one when the source answers again.
func TestEveryReplicaHasWhatTheLeaderFetches(t *testing.T) {
	in, s := namespace(t), newSource(t, "list 1")
	want := s.fetch(10 * time.Millisecond)
	key := want.Key()
	leader, follower := newReplica(t, in), newReplica(t, in)
	leader.Set(key, want)
	follower.Set(key, want)
	if s.asked.Load() > 0 {
		t.Error("a replica that does not lead fetches")
	}
	stop := leader.lead(t)
	leader.await(t, key, "list 1", "")
	follower.await(t, key, "list 1", "")
	s.content.Store("list 2")
	follower.await(t, key, "list 2", "")
	within(t, func() error {
		if s.known.Load() == 0 {
			return errors.New("the source was not asked with the ETag of what is known")
		}
		return nil
	})
	stop()
	s.server.Close()

	restarted := newReplica(t, in)
	restarted.await(t, key, "list 2", "")
	restarted.Set(key, want)
	stop = restarted.lead(t)
	within(t, func() error {
		return restarted.wantResults("failed", 3)
	})
	restarted.await(t, key, "list 2", "")
	follower.await(t, key, "list 2", "")
	s.content.Store("list 3")
	s.start(t)
	follower.await(t, key, "list 3", "")
	s.content.Store("no list")
	asked := s.asked.Load()
	within(t, func() error {
		if s.asked.Load() < asked+3 {
			return errors.New("the source was not asked again")
		}
		return nil
	})
	follower.await(t, key, "list 3", "")
	stop()
}

// TestNothingIsFetchedThatIsFresh: a new leader leaves content alone that is not old enough.
func TestNothingIsFetchedThatIsFresh(t *testing.T) {
	in, s := namespace(t), newSource(t, "list 1")
	want := s.fetch(time.Hour)
	first := newReplica(t, in)
	first.Set(want.Key(), want)
	stop := first.lead(t)
	first.await(t, want.Key(), "list 1", "")
	stop()
	other := newSource(t, "list 2")
	second, next := newReplica(t, in), other.fetch(time.Hour)
	second.Set(want.Key(), want)
	second.Set(next.Key(), next)
	second.lead(t)
	second.await(t, next.Key(), "list 2", "")
	if asked := s.asked.Load(); asked != 1 {
		t.Errorf("the source was asked %d times", asked)
	}
}

// TestWhyThereIsNoContent: as long as nothing was fetched, every replica knows the reason, and the fetch is tried
// again.
func TestWhyThereIsNoContent(t *testing.T) {
	in, s := namespace(t), newSource(t, "")
	want := s.fetch(time.Hour)
	key := want.Key()
	leader, follower := newReplica(t, in), newReplica(t, in)
	leader.Set(key, want)
	leader.lead(t)
	follower.await(t, key, "", "it answers with status 503")
	s.content.Store("page")
	follower.await(t, key, "", "the content is not a list")
	s.content.Store("list " + strings.Repeat("x", 100))
	follower.await(t, key, "", "the content has more than 100 bytes")
	s.content.Store("list")
	follower.await(t, key, "list", "")
	c, err := object(t, in, key)
	if err != nil || c.Annotations[annotationFailure] != "" || c.Annotations[annotationURL] != want.URL ||
		c.Labels[Label] != "true" {
		t.Errorf("stored is %v, %v", c, err)
	}
}

// TestFailuresAreNotRepeatedAtOnce: the delay between attempts grows, though each attempt is stored and watched.
func TestFailuresAreNotRepeatedAtOnce(t *testing.T) {
	in, s := namespace(t), newSource(t, "")
	want := s.fetch(time.Hour)
	leader := newReplica(t, in)
	leader.firstRetry, leader.lastRetry = time.Hour, time.Hour
	leader.Set(want.Key(), want)
	leader.lead(t)
	leader.await(t, want.Key(), "", "it answers with status 503")
	other := newSource(t, "list")
	next := other.fetch(time.Hour)
	leader.Set(next.Key(), next)
	leader.await(t, next.Key(), "list", "")
	if asked := s.asked.Load(); asked != 1 {
		t.Errorf("the source was asked %d times", asked)
	}
}

// TestWhatOthersDoToTheObjects: content that was deleted or changed is fetched again, and nobody uses what was changed.
// Other ConfigMaps are left alone.
func TestWhatOthersDoToTheObjects(t *testing.T) {
	in, s, api := namespace(t), newSource(t, "list 1"), server.Client(t)
	want := s.fetch(time.Hour)
	key := want.Key()
	leader := newReplica(t, in)
	leader.Set(key, want)
	leader.lead(t)
	leader.await(t, key, "list 1", "")
	c, err := object(t, in, key)
	if err != nil {
		t.Fatal(err)
	}
	s.content.Store("list 2")
	c.BinaryData[contentKey] = []byte("list of somebody else")
	if err := api.Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	leader.await(t, key, "list 2", "")
	s.content.Store("list 3")
	if err := api.Delete(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	leader.await(t, key, "list 3", "")
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: in, Name: "foreign",
		Labels: map[string]string{Label: "true"},
	}}
	if err := api.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	unwanted := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: in, Name: namePrefix + "unknown"}}
	if err := api.Create(t.Context(), unwanted); err != nil {
		t.Fatal(err)
	}
	within(t, func() error { return wantGone(t, in, "unknown") })
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil {
		t.Error(err)
	}
	if asked := s.asked.Load(); asked != 3 {
		t.Errorf("the source was asked %d times", asked)
	}
}

func wantGone(t *testing.T, namespace, key string) error {
	t.Helper()
	if _, err := object(t, namespace, key); !apierrors.IsNotFound(err) {
		return fmt.Errorf("the ConfigMap of %s is there: %w", key, err)
	}
	return nil
}

// TestWhatNothingNeedsIsDeleted: but only after some time, and only by a replica that knows what is needed.
func TestWhatNothingNeedsIsDeleted(t *testing.T) {
	in, s := namespace(t), newSource(t, "list 1")
	kept, dropped := s.fetch(time.Hour), s.fetch(2*time.Hour)
	leader := newReplica(t, in)
	leader.grace = time.Hour
	for _, f := range []*translator.Fetch{kept, dropped} {
		leader.Set(f.Key(), f)
	}
	stop := leader.lead(t)
	leader.await(t, kept.Key(), "list 1", "")
	leader.await(t, dropped.Key(), "list 1", "")
	leader.Set(dropped.Key(), nil)
	other := newSource(t, "list 2")
	later := other.fetch(time.Hour)
	leader.Set(later.Key(), later)
	leader.await(t, later.Key(), "list 2", "")
	if _, err := object(t, in, dropped.Key()); err != nil {
		t.Errorf("what may be needed again: %v", err)
	}
	stop()

	next := newReplica(t, in)
	knows := make(chan struct{})
	next.Known = func(ctx context.Context) bool {
		select {
		case <-knows:
			return true
		case <-ctx.Done():
			return false
		}
	}
	next.lead(t)
	next.await(t, kept.Key(), "list 1", "")
	next.Set(kept.Key(), kept)
	next.Set(later.Key(), later)
	close(knows)
	within(t, func() error { return wantGone(t, in, dropped.Key()) })
	for _, f := range []*translator.Fetch{kept, later} {
		if _, err := object(t, in, f.Key()); err != nil {
			t.Errorf("what is needed: %v", err)
		}
	}
	if s.asked.Load() != 2 || other.asked.Load() != 1 {
		t.Errorf("the sources were asked %d and %d times", s.asked.Load(), other.asked.Load())
	}
}

// TestAllContentTogetherIsLimited: content that would exceed the limit is not stored, until there is room.
func TestAllContentTogetherIsLimited(t *testing.T) {
	in := namespace(t)
	first, second := newSource(t, "list 1").fetch(time.Hour), newSource(t, "list 2").fetch(time.Hour)
	leader := newReplica(t, in)
	leader.maxStored = len("list 1") + 1
	leader.Set(first.Key(), first)
	leader.lead(t)
	leader.await(t, first.Key(), "list 1", "")
	leader.Set(second.Key(), second)
	leader.await(t, second.Key(), "", "with it, the control plane would have to keep more than 7 bytes of such content")
	leader.Set(first.Key(), nil)
	leader.await(t, second.Key(), "list 2", "")
}
