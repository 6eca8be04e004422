package volume

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// File is one file of a volume.
type File struct {
	Data []byte
	Mode fs.FileMode
}

// Files is a volume's content by path within the volume.
type Files map[string]File

// The layout is that of a kubelet, which programs that watch their files rely on: each top-level name is a symbolic
// link into ..data, itself a symbolic link to a directory with the content, replaced by one rename.
const (
	dataLink = "..data"
	newLink  = "..data_tmp"
)

// Write makes files the content of the directory. Readers see all of the old files or all of the new ones.
func Write(dir string, files Files) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make volume: %w", err)
	}
	version := ".." + files.version()
	before, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read volume: %w", err)
	}
	if before == version {
		return nil
	}
	if err := files.write(filepath.Join(dir, version)); err != nil {
		return fmt.Errorf("write volume: %w", err)
	}
	if err := os.Symlink(version, filepath.Join(dir, newLink)); err != nil {
		return fmt.Errorf("switch volume: %w", err)
	}
	if err := os.Rename(filepath.Join(dir, newLink), filepath.Join(dir, dataLink)); err != nil {
		return fmt.Errorf("switch volume: %w", err)
	}
	if err := links(dir, files); err != nil {
		return fmt.Errorf("link files of volume: %w", err)
	}
	if before == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, before))
}

func (files Files) version() string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		_, _ = fmt.Fprintf(h, "%q %o %d ", path, f.Mode, len(f.Data)) // A hash takes everything.
		h.Write(f.Data)
	}
	return digest(h.Sum(nil)[:12])
}

func (files Files) write(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for path, f := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, f.Mode); err != nil {
			return err
		}
		if err := os.Chmod(path, f.Mode); err != nil { // The process's umask does not count.
			return err
		}
	}
	return nil
}

// links makes the names of the files lead into the current content, and removes names that are gone.
func links(dir string, files Files) error {
	wanted := map[string]bool{}
	for path := range files {
		top, _, _ := strings.Cut(filepath.Clean(path), "/")
		wanted[top] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if wanted[name] {
			delete(wanted, name)
		} else if !strings.HasPrefix(name, "..") {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	for name := range wanted {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
