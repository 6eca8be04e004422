package offline

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// TestStdinIsNotEmpty: kustomize that fails must not pass for a folder without mistakes. An empty file is fine.
func TestStdinIsNotEmpty(t *testing.T) {
	r := &reader{limit: maxInput}
	if err := r.read([]string{"-"}, strings.NewReader("")); err == nil || !strings.Contains(err.Error(), "stdin is empty") {
		t.Errorf("empty input: %v", err)
	}
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.read([]string{file, "-"}, strings.NewReader("\n")); err != nil {
		t.Error(err)
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

// TestSeparators: documents are separated as kubectl does it. A comment may be behind the separator. Anything else is an
// error in that line: the parser would not read what follows.
func TestSeparators(t *testing.T) {
	for separator, want := range map[string]struct {
		objects int
		wrong   string
	}{
		"---":           {objects: 2},
		"---\t ":        {objects: 2},
		"--- # another": {objects: 2},
		"---# another":  {objects: 2},
		"---\r":         {objects: 2},
		"--- kind: A":   {wrong: "a.yaml:4:1: only a comment may be behind --- in its line"},
		"----":          {wrong: "a.yaml:4:1: only a comment may be behind --- in its line"},
	} {
		r := &reader{limit: maxInput}
		if err := r.stream("a.yaml", strings.NewReader(service+separator+"\n"+service)); err != nil {
			t.Fatal(err)
		}
		r.parse()
		var wrong string
		for _, b := range r.broken {
			wrong += fmt.Sprintf("%s:%d:%d: %s", b.at.File, b.at.Line, b.at.Column, b.text)
		}
		if len(r.documents) != want.objects || wrong != want.wrong {
			t.Errorf("%q: %d objects, %q; want %d, %q", separator, len(r.documents), wrong, want.objects, want.wrong)
		}
	}
	r := &reader{limit: maxInput}
	if err := r.stream("a.yaml", strings.NewReader("--- {apiVersion: v1, kind: Service}\n")); err != nil {
		t.Fatal(err)
	}
	if r.parse(); len(r.broken) != 1 || r.broken[0].at.Line != 1 {
		t.Errorf("an object behind the first separator: %+v", r.broken)
	}
}

// TestPlaces: the text of a place has no line break, however lines end in the file. Files that are named with ./ are
// called as in folders, and read once.
func TestPlaces(t *testing.T) {
	t.Chdir(t.TempDir())
	text := strings.ReplaceAll(service+"---\n"+service, "\n", "\r\n")
	if err := os.WriteFile("a.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &reader{limit: maxInput}
	if err := r.read([]string{".", "a.yaml", "./a.yaml"}, nil); err != nil || len(r.documents) != 2 {
		t.Errorf("a file that is named beside its folder: %d objects, %v", len(r.documents), err)
	}
	want := Place{File: "a.yaml", Line: 7, Column: 18, Text: "metadata: {name: a}"}
	for _, path := range []string{"a.yaml", "./a.yaml", ".", "./"} {
		r := &reader{limit: maxInput}
		if err := r.read([]string{path}, nil); err != nil {
			t.Fatal(err)
		}
		if got := r.documents[1].place("metadata.name"); got != want {
			t.Errorf("in %s: %+v, want %+v", path, got, want)
		}
	}
}

// TestJSON: JSON objects may follow each other, as jq writes them. What is behind an object and cannot be read is an error,
// and escapes are those of JSON.
func TestJSON(t *testing.T) {
	const object = `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}`
	for text, want := range map[string]string{
		object:                                           "1:62",
		"\t" + object + "\n" + object + "\n":             "1:63 2:62",
		object + object:                                  "1:62 1:128",
		object + "\n---\n" + object + object:             "1:62 3:62 3:128",
		object + "\n\n{\"kind\": \n":                     "1:62 error 3: behind an object in JSON: unexpected EOF",
		object + "\n\nkind: A\n":                         "1:62 error 3: behind an object in JSON: invalid character 'k' looking for beginning of value",
		"{apiVersion: v1, kind: A, metadata: {name: a}}": "1:44",
		`{"apiVersion": "v1", "kind": "A", "metadata": "\ud83d\ude00"}`: "1:1",
	} {
		r := &reader{limit: maxInput}
		if err := r.stream("a.json", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		r.parse()
		var got []string
		for _, d := range r.documents {
			at := d.place("metadata.name")
			got = append(got, fmt.Sprintf("%d:%d", at.Line, at.Column))
		}
		for _, b := range r.broken {
			got = append(got, fmt.Sprintf("error %d: %s", b.at.Line, b.text))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s\nhas %s, want %s", text, strings.Join(got, " "), want)
		}
	}
}

// TestWithoutAKind: what is meant as an object needs apiVersion and kind, and what is in a list is an object. Other documents
// are counted.
func TestWithoutAKind(t *testing.T) {
	r := &reader{limit: maxInput}
	text := "replicas: 1\n---\n# None.\n---\napiversion: v1\nkind: Service\nmetadata: {name: a}\n---\n" +
		"apiVersion: 1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v2\nname: chart\n" +
		"---\napiVersion: v1\nkind: List\nitems:\n- 1\n- {}\n"
	if err := r.stream("a.yaml", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	r.parse()
	var lines []int
	for _, b := range r.broken {
		lines = append(lines, b.at.Line)
	}
	if !slices.Equal(lines, []int{5, 9, 19}) || r.others != 3 || len(r.documents) != 0 {
		t.Errorf("lines %v are wrong, and %d documents are others; want [5 9 19] and 3", lines, r.others)
	}
}

// TestPacksAreReadOnce: a pack that is named twice has each of its rules once.
func TestPacksAreReadOnce(t *testing.T) {
	r := &reader{limit: maxInput}
	if err := r.rules([]string{"tls-baseline", "tls-baseline"}); err != nil || len(r.documents) != 1 {
		t.Errorf("%d rules are read: %v", len(r.documents), err)
	}
}
