package disk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"time"
)

// headBytes is how much of the content a Writer remembers.
const headBytes = 512

// Writer writes content into a cache, where nobody sees it before Commit. It is of one goroutine.
type Writer struct {
	cache *Cache
	file  *os.File
	hash  hash.Hash
	head  []byte
	size  int64
	ended bool
}

// Create begins new content. Discard must be called in any case.
func (c *Cache) Create() (*Writer, error) {
	f, err := os.CreateTemp(c.directory, unfinished)
	if err != nil {
		return nil, fmt.Errorf("make a file for large content: %w", err)
	}
	return &Writer{cache: c, file: f, hash: sha256.New()}, nil
}

// Write adds to the content. It removes content that is not held as needed, and returns an error that wraps ErrFull if
// there is no room.
func (w *Writer) Write(part []byte) (int, error) {
	w.cache.mu.Lock()
	err := w.cache.reserve(int64(len(part)))
	w.cache.mu.Unlock()
	if err != nil {
		return 0, err
	}
	w.size += int64(len(part))
	w.head = append(w.head, part[:min(len(part), headBytes-len(w.head))]...)
	_, _ = w.hash.Write(part) // It never fails.
	n, err := w.file.Write(part)
	if err != nil {
		return n, fmt.Errorf("write large content: %w", err)
	}
	return n, nil
}

// Head is the beginning of the content, at most 512 bytes.
func (w *Writer) Head() []byte { return w.head }

// Size is the size of the content in bytes.
func (w *Writer) Size() int64 { return w.size }

// Digest is sha256: and the SHA-256 digest of the content in 64 hexadecimal digits.
func (w *Writer) Digest() string { return digestOf(w.hash.Sum(nil)) }

// Commit puts the content into the cache under its digest. It is there as a whole or not at all.
func (w *Writer) Commit() error {
	digest := w.Digest()
	if err := errors.Join(w.file.Sync(), w.file.Close()); err != nil {
		return fmt.Errorf("write large content: %w", err)
	}
	c := w.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := os.Rename(w.file.Name(), c.path(digest)); err != nil {
		return fmt.Errorf("put large content in its place: %w", err)
	}
	w.ended = true
	e := c.entries[digest]
	switch {
	case e == nil:
		e = &entry{}
		c.entries[digest] = e
	case e.size >= 0:
		c.used -= e.size // It has replaced the same content.
	}
	e.size, e.used = w.size, time.Now()
	return nil
}

// Discard removes the content, unless Commit has put it into the cache.
func (w *Writer) Discard() {
	if w.ended {
		return
	}
	w.ended = true
	_ = w.file.Close()           // It is not needed.
	_ = os.Remove(w.file.Name()) // The next Open removes what remains.
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	w.cache.used -= w.size
}
