package fetch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/controller/fetch/disk"
	"gatehouse/translator"
)

// module is a Fetch of large content.
func (s *source) module(refresh time.Duration) *translator.Fetch {
	f := s.fetch(refresh)
	f.Form, f.Large, f.MaxBytes = "a module", true, 0
	f.Check = func(head []byte) error {
		if len(head) > 512 || !strings.HasPrefix(string(head), "module") {
			return errors.New("is no module")
		}
		return nil
	}
	return f
}

// awaitFile waits until the translation of the replica would have large content, and expects the bytes to be there.
func (r *replica) awaitFile(t *testing.T, key, content string) {
	t.Helper()
	want := translator.File{Digest: digest([]byte(content)), Size: int64(len(content))}
	within(t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if got := r.has[key]; got.File != want || !got.Present || got.Failure != "" || got.Content != nil {
			return fmt.Errorf("there is %+v, want %q", got, content)
		}
		return nil
	})
	f, err := r.Open(want.Digest)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || string(got) != content || f.Close() != nil {
		t.Errorf("the bytes are %q, %v", got, err)
	}
}

// awaitNoFile waits until the translation of the replica would have no large content, for that reason.
func (r *replica) awaitNoFile(t *testing.T, key, failure string) {
	t.Helper()
	within(t, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if got, ok := r.has[key]; !ok || got.Present || got.Failure != failure {
			return fmt.Errorf("there is %+v, want none because %s", got, failure)
		}
		return nil
	})
}

// TestEveryReplicaHasTheBytes: each replica gets large content by itself, of which the cluster has only the digest.
// While the source is away, a replica that has the bytes continues to use them, also after a restart. One that does not
// have them has no answer, and gets them as soon as it can.
func TestEveryReplicaHasTheBytes(t *testing.T) {
	in, s := namespace(t), newSource(t, "module 1")
	want := s.module(time.Hour)
	key, kept := want.Key(), t.TempDir()
	leader, follower := newReplica(t, in), newReplicaWith(t, in, files(t, kept))
	leader.Set(key, want)
	follower.Set(key, want)
	stop := leader.lead(t)
	leader.awaitFile(t, key, "module 1")
	follower.awaitFile(t, key, "module 1")
	c, err := object(t, in, key)
	if err != nil || len(c.BinaryData)+len(c.Data) > 0 || c.Annotations[annotationDigest] != digest([]byte("module 1")) ||
		c.Annotations[annotationSize] != "8" {
		t.Errorf("stored is %v, %v", c, err)
	}
	if asked := s.asked.Load(); asked != 2 {
		t.Errorf("the source was asked %d times", asked)
	}
	s.server.Close()
	stop()

	restarted, fresh := newReplicaWith(t, in, files(t, kept)), newReplica(t, in)
	restarted.awaitFile(t, key, "module 1")
	for _, r := range []*replica{restarted, fresh} {
		r.Set(key, want)
	}
	fresh.awaitNoFile(t, key, "connection refused")
	stop = restarted.lead(t)
	restarted.awaitFile(t, key, "module 1")
	s.start(t)
	fresh.awaitFile(t, key, "module 1")
	stop()
}

// TestNewLargeContentInterruptsNothing: while a replica does not have the content that the leader has now, it continues
// to use the one before. Content that is not what the leader has stored is not used.
func TestNewLargeContentInterruptsNothing(t *testing.T) {
	in, s := namespace(t), newSource(t, "module 1")
	want := s.module(10 * time.Millisecond)
	key := want.Key()
	leader, follower := newReplica(t, in), newReplica(t, in)
	leader.Set(key, want)
	follower.Set(key, want)
	stop := leader.lead(t)
	follower.awaitFile(t, key, "module 1")
	within(t, func() error {
		if s.known.Load() == 0 {
			return errors.New("the source was not asked with the ETag of what is known")
		}
		return nil
	})
	follower.rest()
	s.content.Store("module 2")
	leader.awaitFile(t, key, "module 2")
	within(t, func() error {
		follower.Fetcher.mu.Lock()
		defer follower.Fetcher.mu.Unlock()
		if !follower.lacks(key) {
			return errors.New("the follower does not know of the new content")
		}
		return nil
	})
	follower.awaitFile(t, key, "module 1")
	stop()
	s.content.Store("module 3")

	late := newReplica(t, in)
	late.Set(key, want)
	late.awaitNoFile(t, key, "the content does not have digest "+digest([]byte("module 2")))
	late.lead(t)
	late.awaitFile(t, key, "module 3")
}

// TestLargeContentThatIsNotUsed: it is too large, has another form, or is not what the policy names.
func TestLargeContentThatIsNotUsed(t *testing.T) {
	in, s := namespace(t), newSource(t, "module "+strings.Repeat("x", 1000))
	want := s.module(time.Hour)
	key, directory := want.Key(), t.TempDir()
	leader, follower := newReplicaWith(t, in, files(t, directory)), newReplica(t, in)
	leader.Set(key, want)
	leader.lead(t)
	follower.awaitNoFile(t, key, "the content has more than 1000 bytes")
	s.content.Store("page")
	follower.awaitNoFile(t, key, "the content is no module")
	exact := s.module(time.Hour)
	exact.SHA256 = digest([]byte("module 1"))[len("sha256:"):]
	s.content.Store("module 2")
	leader.Set(exact.Key(), exact)
	follower.awaitNoFile(t, exact.Key(), "the content does not have digest sha256:"+exact.SHA256)
	leader.awaitFile(t, key, "module 2")
	s.content.Store("module 1")
	leader.awaitFile(t, exact.Key(), "module 1")
	if left, err := os.ReadDir(directory); err != nil || len(left) != 2 {
		t.Errorf("on the disk are %v, %v", left, err)
	}
}

// TestNamedDigestIsFetchedOnce: content of a digest that the policy names cannot become old.
func TestNamedDigestIsFetchedOnce(t *testing.T) {
	in, s := namespace(t), newSource(t, "module 1")
	want := s.module(time.Millisecond)
	want.SHA256 = digest([]byte("module 1"))[len("sha256:"):]
	leader := newReplica(t, in)
	leader.Set(want.Key(), want)
	stop := leader.lead(t)
	leader.awaitFile(t, want.Key(), "module 1")
	stop()
	leader.lead(t)
	other := newSource(t, "module 2")
	for _, next := range []*translator.Fetch{other.module(time.Hour), other.module(2 * time.Hour)} {
		leader.Set(next.Key(), next)
		leader.awaitFile(t, next.Key(), "module 2")
	}
	if asked := s.asked.Load(); asked != 1 {
		t.Errorf("the source was asked %d times", asked)
	}
}

// TestLostBytesAreFetchedAgain: bytes that the disk has changed are not served, and until they are there again the need
// has no answer. This is so on the leader and on others.
func TestLostBytesAreFetchedAgain(t *testing.T) {
	in, s := namespace(t), newSource(t, "module 1")
	want := s.module(time.Hour)
	key, sum := want.Key(), digest([]byte("module 1"))
	directories := []string{t.TempDir(), t.TempDir()}
	var replicas []*replica
	for _, directory := range directories {
		r := newReplicaWith(t, in, files(t, directory))
		r.Set(key, want)
		replicas = append(replicas, r)
	}
	replicas[0].lead(t)
	for i, r := range replicas {
		r.awaitFile(t, key, "module 1")
		if err := os.WriteFile(filepath.Join(directories[i], strings.Replace(sum, ":", "-", 1)), []byte("module 0"),
			0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.content.Store("")
	for _, r := range replicas {
		if _, err := r.Open(sum); !errors.Is(err, disk.ErrAbsent) {
			t.Errorf("changed bytes: %v", err)
		}
		r.awaitNoFile(t, key, "it answers with status 503")
	}
	s.content.Store("module 1")
	for _, r := range replicas {
		r.awaitFile(t, key, "module 1")
	}
}

// TestDiskIsLimited: large content that is needed is never thrown away for other content, which waits until there is
// room.
func TestDiskIsLimited(t *testing.T) {
	in := namespace(t)
	cached, err := disk.Open(t.TempDir(), 20)
	if err != nil {
		t.Fatal(err)
	}
	leader := newReplicaWith(t, in, cached)
	leader.grace = time.Hour
	leader.lead(t)
	first, second, third := newSource(t, "module 1").module(time.Hour), newSource(t, "module 2").module(time.Hour),
		newSource(t, "module 3").module(time.Hour)
	for i, want := range []*translator.Fetch{first, second} {
		leader.Set(want.Key(), want)
		leader.awaitFile(t, want.Key(), fmt.Sprintf("module %d", i+1))
	}
	leader.Set(third.Key(), third)
	leader.awaitNoFile(t, third.Key(), "there is no room for it beside the large content that is in use")
	leader.Set(first.Key(), nil)
	leader.awaitFile(t, third.Key(), "module 3")
	leader.awaitFile(t, second.Key(), "module 2")
	leader.Set(first.Key(), first)
	leader.awaitNoFile(t, first.Key(), "there is no room for it beside the large content that is in use")
	leader.Set(third.Key(), nil)
	leader.awaitFile(t, first.Key(), "module 1")
}
