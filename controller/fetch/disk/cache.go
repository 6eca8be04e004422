// Package disk keeps large content on the disk of a replica, by its digest.
package disk

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrFull is the error of content for which there is no room, because everything else is in use.
var ErrFull = errors.New("the cache is full")

// ErrAbsent is the error of content that is not in the cache, or that the disk has lost or changed.
var ErrAbsent = errors.New("the content is not in the cache")

// unfinished begins the names of files that are still written.
const unfinished = "new-"

// fileName is the name of content with that digest.
var fileName = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)

// Cache keeps content in a directory that nothing else writes to. All of it together, with what is still being written,
// never has more than the limit. Content that was used least recently is removed first, and never content that is held.
// Its methods may be called from any goroutine.
type Cache struct {
	directory string
	limit     int64

	mu      sync.Mutex
	entries map[string]*entry
	used    int64
}

type entry struct {
	// size is -1 for content that is held and not there.
	size int64
	used time.Time
	held int
}

// Open returns the cache in a directory, which is made if it does not exist. Content that does not have its digest any
// more, and content that was not written to its end, is removed. limit is in bytes.
func Open(directory string, limit int64) (*Cache, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for large content: %w", err)
	}
	c := &Cache{directory: directory, limit: limit, entries: map[string]*entry{}}
	files, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("read the directory for large content: %w", err)
	}
	for _, f := range files {
		if err := c.take(f); err != nil {
			return nil, err
		}
	}
	return c, c.reserve(0)
}

// take adds a file that is in the directory already.
func (c *Cache) take(f fs.DirEntry) error {
	path := filepath.Join(c.directory, f.Name())
	if matched, _ := filepath.Match(unfinished+"*", f.Name()); matched {
		return removed(os.Remove(path))
	}
	if !fileName.MatchString(f.Name()) {
		return nil // It is not of this cache.
	}
	digest := "sha256:" + f.Name()[len("sha256-"):]
	size, found, err := sum(path)
	if err != nil {
		return err
	}
	if found != digest {
		return removed(os.Remove(path))
	}
	info, err := f.Info()
	if err != nil {
		return fmt.Errorf("read when large content was used: %w", err)
	}
	c.entries[digest] = &entry{size: size, used: info.ModTime()}
	c.used += size
	return nil
}

func removed(err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove large content: %w", err)
	}
	return nil
}

// sum returns the size and the digest of a file.
func sum(path string) (size int64, digest string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", fmt.Errorf("read large content: %w", err)
	}
	defer func() { _ = f.Close() }() // It was only read.
	return sumOf(f)
}

func sumOf(r io.Reader) (size int64, digest string, err error) {
	hash := sha256.New()
	if size, err = io.Copy(hash, r); err != nil {
		return 0, "", fmt.Errorf("read large content: %w", err)
	}
	return size, digestOf(hash.Sum(nil)), nil
}

// IsDigest reports whether a text is sha256: and 64 hexadecimal digits in lower case, as everything in this package is
// called.
func IsDigest(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	return ok && fileName.MatchString("sha256-"+digits)
}

func digestOf(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// path is where the content with that digest is.
func (c *Cache) path(digest string) string {
	return filepath.Join(c.directory, "sha256-"+digest[len("sha256:"):])
}

// Has reports whether the cache has the content with that digest. The disk is not read.
func (c *Cache) Has(digest string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[digest]
	return e != nil && e.size >= 0
}

// Hold keeps content from being removed until Release has been called as often. The content need not be there yet.
func (c *Cache) Hold(digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[digest]
	if e == nil {
		e = &entry{size: -1}
		c.entries[digest] = e
	}
	e.held++
}

// Release ends a Hold.
func (c *Cache) Release(digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[digest]
	if e.held--; e.held == 0 && e.size < 0 {
		delete(c.entries, digest)
		return
	}
	c.touch(digest, e)
}

// touch records that content is used now, for the next start too. c.mu must be held.
func (c *Cache) touch(digest string, e *entry) {
	e.used = time.Now()
	if e.size >= 0 {
		_ = os.Chtimes(c.path(digest), e.used, e.used) // It only decides what is removed first.
	}
}

// Read opens content, after it has been read once and compared with its digest. An error that wraps ErrAbsent means
// that the cache does not have the content, or not any more. The caller closes the file; removing the content from the
// cache does not touch a file that is open.
func (c *Cache) Read(digest string) (*os.File, error) {
	if !c.Has(digest) {
		return nil, ErrAbsent
	}
	f, err := os.Open(c.path(digest))
	if err == nil {
		var found string
		if _, found, err = sumOf(f); err == nil && found != digest {
			err = errors.New("the disk has changed it")
		}
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err != nil {
			_ = f.Close() // It was only read.
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[digest]
	switch {
	case err != nil:
		c.drop(digest)
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	case e != nil:
		c.touch(digest, e)
	}
	return f, nil
}

// drop removes content, but not the memory that it is held. c.mu must be held.
func (c *Cache) drop(digest string) {
	e := c.entries[digest]
	if e == nil || e.size < 0 {
		return
	}
	_ = os.Remove(c.path(digest)) // If this fails, the next content with the digest replaces the file.
	c.used -= e.size
	e.size = -1
	if e.held == 0 {
		delete(c.entries, digest)
	}
}

// reserve makes room for so many bytes and counts them as used. The error is ErrFull. c.mu must be held.
func (c *Cache) reserve(bytes int64) error {
	if c.used+bytes > c.limit {
		for _, digest := range c.removable() {
			c.drop(digest)
			if c.used+bytes <= c.limit {
				break
			}
		}
	}
	if c.used+bytes > c.limit {
		return ErrFull
	}
	c.used += bytes
	return nil
}

// removable returns what is not held, the least recently used first.
func (c *Cache) removable() (digests []string) {
	for digest, e := range c.entries {
		if e.held == 0 {
			digests = append(digests, digest)
		}
	}
	slices.SortFunc(digests, func(a, b string) int {
		return cmp.Or(c.entries[a].used.Compare(c.entries[b].used), cmp.Compare(a, b))
	})
	return digests
}
