package offline

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"

// TestFoldersDoNotBlock: what never ends in a folder is not read; a pipe that is named is.
func TestFoldersDoNotBlock(t *testing.T) {
	folder := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(folder, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(folder, "device.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "a.yaml"), []byte(service), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &reader{limit: maxInput}
	if err := r.read([]string{folder}, nil); err != nil || len(r.documents) != 1 {
		t.Errorf("%d objects are read from the folder: %v", len(r.documents), err)
	}
	go func() { _ = os.WriteFile(filepath.Join(folder, "pipe.yaml"), []byte(service), 0o600) }()
	if err := r.read([]string{filepath.Join(folder, "pipe.yaml")}, nil); err != nil || len(r.documents) != 2 {
		t.Errorf("%d objects are read with the pipe: %v", len(r.documents), err)
	}
}

// TestInputIsBounded: all files together have a limit.
func TestInputIsBounded(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yaml"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(service), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &reader{limit: int64(2*len(service) - 1)}
	if err := r.read([]string{folder}, nil); err == nil || !strings.Contains(err.Error(), "b.yaml: all files together") {
		t.Errorf("two files of %d bytes are read within %d bytes: %v", len(service), r.limit, err)
	}
	r = &reader{limit: int64(2 * len(service))}
	if err := r.read([]string{folder}, nil); err != nil {
		t.Error(err)
	}
}
