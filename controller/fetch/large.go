package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"

	"gatehouse/controller/fetch/disk"
	"gatehouse/translator"
)

const (
	// largeTimeout is the maximum time for fetching large content.
	largeTimeout = 2 * time.Minute
	// maxRunningLarge is how many fetches of large content run at the same time, besides others.
	maxRunningLarge = 4
)

// copies is what a replica knows of the large content on its disk.
type copies struct {
	slots   *slots
	queue   workqueue.TypedDelayingInterface[string]
	retries workqueue.TypedRateLimiter[string]
	// told is what the translation knows, by the key of the fetch. held are the digests of each key that must stay in
	// the cache. failures are why the last attempts here failed.
	told     map[string]translator.Fetched
	held     map[string][]string
	failures map[string]string
}

func newCopies() copies {
	return copies{
		slots:   newSlots(maxRunningLarge),
		queue:   workqueue.NewTypedDelayingQueue[string](),
		retries: workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry),
		told:    map[string]translator.Fetched{}, held: map[string][]string{}, failures: map[string]string{},
	}
}

// expected is the digest that large content must have; empty for any.
func expected(want *translator.Fetch) string {
	if want.SHA256 == "" {
		return ""
	}
	return "sha256:" + want.SHA256
}

// lacks reports whether this replica needs large content that is stored, and does not have it. f.mu must be held.
func (f *Fetcher) lacks(key string) bool {
	want, have := f.wanted[key], f.stored[key]
	return want != nil && want.Large && have != nil && have.file.Digest != "" && !f.Files.Has(have.file.Digest)
}

// choose completes a report about large content. While a replica does not have the newest content, it continues to use
// the one before, so that new content interrupts nothing. f.mu must be held.
func (f *Fetcher) choose(key string, report *translator.Fetched) *translator.Fetched {
	before := f.large.told[key]
	switch {
	case report.File.Digest == "":
		delete(f.large.failures, key)
	case f.Files.Has(report.File.Digest):
		report.Present = true
		delete(f.large.failures, key)
	case before.Present && f.Files.Has(before.File.Digest):
		report.File, report.Present = before.File, true
	default:
		report.Failure = f.large.failures[key]
	}
	delete(f.large.told, key)
	if report.File.Digest != "" {
		f.large.told[key] = *report
	}
	f.hold(key)
	return report
}

// hold keeps in the cache what a key uses or waits for, if something needs the key. f.mu must be held.
func (f *Fetcher) hold(key string) {
	var now []string
	if f.wanted[key] != nil {
		for _, digest := range []string{f.large.told[key].File.Digest, f.digest(key)} {
			if digest != "" && !slices.Contains(now, digest) {
				now = append(now, digest)
				f.Files.Hold(digest)
			}
		}
	}
	for _, digest := range f.large.held[key] {
		f.Files.Release(digest)
	}
	delete(f.large.held, key)
	if now != nil {
		f.large.held[key] = now
	}
}

// digest is that of the large content that is stored under a key; empty if there is none. f.mu must be held.
func (f *Fetcher) digest(key string) string {
	if s := f.stored[key]; s != nil {
		return s.file.Digest
	}
	return ""
}

// tellAgain tells the translation what has changed of the large content of a key. f.mu must be held.
func (f *Fetcher) tellAgain(key string) {
	before, known := f.large.told[key]
	now := f.report(key)
	if known && (before.File != now.File || before.Present != now.Present || before.Failure != now.Failure) {
		f.Put(translator.Event{Fetched: now})
	}
}

// Run keeps on the disk of this replica what the leader has stored of large content, until the context ends. It may be
// called once.
func (f *Fetcher) Run(ctx context.Context) error {
	work(ctx, f.large.queue, f.copy)
	return nil
}

// copy fetches large content that this replica lacks. The leader does so when it fetches anyway, because it may store
// content with another digest.
func (f *Fetcher) copy(ctx context.Context, key string) time.Duration {
	want, _, needed := f.toCopy(key)
	if !needed {
		f.large.retries.Forget(key)
		return 0
	}
	release, ok := f.large.slots.acquire(ctx, key, want.Namespaces)
	if !ok {
		return 0
	}
	defer release()
	want, digest, needed := f.toCopy(key)
	if !needed {
		return 0
	}
	_, _, err := f.save(ctx, want, "", digest)
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		f.failed(key, want, err)
		return wait.Jitter(f.large.retries.When(key), 0.5)
	}
	f.results.WithLabelValues("fetched").Inc()
	f.large.retries.Forget(key)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tellAgain(key)
	return 0
}

// toCopy returns what this replica lacks under a key, and whether it must fetch it.
func (f *Fetcher) toCopy(key string) (want *translator.Fetch, digest string, needed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wanted[key], f.digest(key), f.lacks(key) && f.queue == nil
}

// save fetches large content into the cache, unless the server has it unchanged. If digest is not empty, the content
// must have it.
func (f *Fetcher) save(ctx context.Context, want *translator.Fetch, etag, digest string) (file translator.File,
	answer *Answer, err error,
) {
	w, err := f.Files.Create()
	if err != nil {
		return file, nil, fmt.Errorf("keep %s: %w", want.URL, err)
	}
	defer w.Discard()
	source := f.HTTP.Through(want.Via)
	source.Timeout = max(source.Timeout, largeTimeout)
	answer, err = source.Save(ctx, want.URL, f.MaxLarge, etag, w)
	switch {
	case errors.Is(err, disk.ErrFull):
		return file, nil, fmt.Errorf("%w (%w)", Failure("there is no room for it beside the large content that is in use"),
			err)
	case err != nil || answer.Unchanged:
		return file, answer, err
	}
	if err := want.Check(w.Head()); err != nil {
		return file, nil, Failure(fmt.Sprintf("the content %v", err))
	}
	if digest != "" && w.Digest() != digest {
		return file, nil, Failure("the content does not have digest " + digest)
	}
	if err := w.Commit(); err != nil {
		return file, nil, fmt.Errorf("keep %s: %w", want.URL, err)
	}
	return translator.File{Digest: w.Digest(), Size: w.Size()}, answer, nil
}

// Open opens large content by its digest, as it was fetched. The caller closes the file. The error wraps disk.ErrAbsent
// if this replica does not have it; if a policy needs it, it is fetched again.
func (f *Fetcher) Open(digest string) (*os.File, error) {
	file, err := f.Files.Read(digest)
	if err == nil {
		return file, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.wanted {
		if f.digest(key) == digest || f.large.told[key].File.Digest == digest {
			f.tellAgain(key)
			f.wake(key)
		}
	}
	return nil, fmt.Errorf("open large content: %w", err)
}
