package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// open opens the cache of a test. A second one in the same directory stands for a restart.
func open(t *testing.T, directory string, limit int64) *Cache {
	t.Helper()
	c, err := Open(directory, limit)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// put adds content and returns its digest.
func put(t *testing.T, c *Cache, content string) string {
	t.Helper()
	w, err := c.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Discard()
	if _, err := io.Copy(w, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	digest := w.Digest()
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return digest
}

func wantContent(t *testing.T, c *Cache, digest, want string) {
	t.Helper()
	f, err := c.Read(digest)
	if err != nil {
		t.Errorf("%q: %v", want, err)
		return
	}
	got, err := io.ReadAll(f)
	if err != nil || string(got) != want || f.Close() != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func wantAbsent(t *testing.T, c *Cache, digest string) {
	t.Helper()
	if _, err := c.Read(digest); !errors.Is(err, ErrAbsent) || c.Has(digest) {
		t.Errorf("%s is there (%v)", digest, err)
	}
}

// onDisk is the size of all files together.
func onDisk(t *testing.T, directory string) (total int64) {
	t.Helper()
	files, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // It was just discarded.
		}
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

// TestRestartKeepsContent: with its order of use, but nothing that is not whole, and nothing of others is touched.
func TestRestartKeepsContent(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "made", "here")
	c := open(t, directory, 100)
	first, second := put(t, c, "first"), put(t, c, "second")
	if first != "sha256:a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e" {
		t.Errorf("the digest is %s", first)
	}
	broken, cut := put(t, c, "broken"), put(t, c, "cut off")
	for digest, content := range map[string]string{broken: "brOken", cut: "cut"} {
		if err := os.WriteFile(c.path(digest), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Create() // The process ends before it is written.
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(directory, "foreign")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantContent(t, c, first, "first")

	c = open(t, directory, 100)
	wantAbsent(t, c, broken)
	wantAbsent(t, c, cut)
	if got := onDisk(t, directory); got != int64(len("first")+len("second")) {
		t.Errorf("%d bytes are on the disk", got)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
	c = open(t, directory, int64(len("first")))
	wantAbsent(t, c, second)
	wantContent(t, c, first, "first")
}

// TestLeastRecentlyUsedGoesFirst: but never what is held, and what is open can be read to its end.
func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := open(t, t.TempDir(), 30)
	a, b, d := put(t, c, strings.Repeat("a", 10)), put(t, c, strings.Repeat("b", 10)), put(t, c, strings.Repeat("d", 10))
	c.Hold(a)
	wantContent(t, c, b, strings.Repeat("b", 10))
	reading, err := c.Read(d)
	if err != nil {
		t.Fatal(err)
	}
	c.entries[d].used = c.entries[b].used.Add(-time.Second)
	e := put(t, c, strings.Repeat("e", 10))
	wantAbsent(t, c, d)
	if rest, err := io.ReadAll(reading); err != nil || string(rest) != strings.Repeat("d", 10) || reading.Close() != nil {
		t.Errorf("what was open is %q, %v", rest, err)
	}
	for _, digest := range []string{a, b, e} {
		if !c.Has(digest) {
			t.Errorf("%s was removed", digest)
		}
	}
	c.Hold(b)
	c.Hold(b)
	c.Hold(e)
	c.Release(b)
	w, err := c.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Discard()
	if _, err := w.Write([]byte("x")); !errors.Is(err, ErrFull) {
		t.Errorf("with everything held: %v", err)
	}
	c.Release(b)
	if _, err := w.Write([]byte("x")); err != nil || c.Has(b) {
		t.Errorf("with something released: %v", err)
	}
}

// TestHeldBeforeItIsThere: content that is held while it is written is never removed.
func TestHeldBeforeItIsThere(t *testing.T) {
	c := open(t, t.TempDir(), 10)
	digest := put(t, open(t, t.TempDir(), 10), "held")
	c.Hold(digest)
	wantAbsent(t, c, digest)
	put(t, c, "held")
	put(t, c, "others")
	put(t, c, "larger")
	wantContent(t, c, digest, "held")
	c.Release(digest)
	put(t, c, strings.Repeat("x", 10))
	wantAbsent(t, c, digest)
	c.Hold(digest)
	c.Release(digest)
	if len(c.entries) != 1 {
		t.Errorf("remembered are %v", c.entries)
	}
}

// TestChangedContentIsNotRead: the cache does not have what the disk has changed or lost, and takes it again.
func TestChangedContentIsNotRead(t *testing.T) {
	c := open(t, t.TempDir(), 10)
	for what, damage := range map[string]func(path string) error{
		"changed": func(path string) error { return os.WriteFile(path, []byte("broken"), 0o600) },
		"lost":    os.Remove,
	} {
		digest := put(t, c, "sound")
		c.Hold(digest)
		if err := damage(c.path(digest)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(digest); !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", what, err)
		}
		if c.Has(digest) || c.used != 0 {
			t.Errorf("%s: it is still there, with %d bytes", what, c.used)
		}
		put(t, c, "sound")
		wantContent(t, c, digest, "sound")
		c.Release(digest)
	}
}

// TestNeverOverTheLimit: many that write and read at the same time never have more on the disk than the limit.
func TestNeverOverTheLimit(t *testing.T) {
	directory := t.TempDir()
	c := open(t, directory, 1000)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for round := range 40 {
				w, err := c.Create()
				if err != nil {
					t.Error(err)
					return
				}
				content := fmt.Sprint(i, round%7, strings.Repeat("x", 90))
				_, err = io.Copy(w, strings.NewReader(content))
				if err == nil && round%3 > 0 {
					err = w.Commit()
				}
				w.Discard()
				if err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				if f, err := c.Read(w.Digest()); err == nil {
					_ = f.Close()
				}
				c.mu.Lock() // Nothing is renamed while it is counted.
				if got := onDisk(t, directory); got > 1000 {
					t.Errorf("%d bytes are on the disk", got)
				}
				c.mu.Unlock()
			}
		})
	}
	all.Wait()
	if got := onDisk(t, directory); got != c.used {
		t.Errorf("%d bytes are on the disk, and %d are counted", got, c.used)
	}
}
