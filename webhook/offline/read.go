// Package offline judges manifests without a cluster: it reads objects from files, gives them to the tables of the
// translation as if they were stored, and finds the place in a file that each problem is about.
package offline

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// maxFile is how much of a file is read, in bytes. An object that an API server stores has at most 1.5 MiB.
const maxFile = 256 << 20

// Place is a place in a file.
type Place struct {
	File string
	// Line and Column begin with 1; Column counts characters.
	Line, Column int
	// Text is the whole line, without its end.
	Text string
}

// source is a file that was read.
type source struct {
	name  string
	lines []string
}

func (s *source) place(line, column int) Place {
	p := Place{File: s.name, Line: line, Column: column}
	if line > 0 && line <= len(s.lines) {
		p.Text = s.lines[line-1]
	}
	return p
}

// document is one object of a file.
type document struct {
	source *source
	// value is the object as JSON values, node the same with its places.
	value map[string]any
	node  *yaml.Node
}

// place finds a field of the object, such as spec.rules[0].name. If the object does not have the field, it is the place
// of the innermost field on the way to it that the object has.
func (d document) place(field string) Place {
	at := locate(d.node, field)
	return d.source.place(at.Line, at.Column)
}

// unreadable is a document or file that is not an object.
type unreadable struct {
	at   Place
	text string
}

// reader collects the documents of files.
type reader struct {
	documents []document
	broken    []unreadable
	// others counts documents that are not objects of Kubernetes, such as the values of a chart.
	others int
}

// read reads files, and folders with all that is below them; "-" is stdin. A file that does not exist is an error. What
// is in a file and cannot be read is not: everything else is read.
func (r *reader) read(paths []string, stdin io.Reader) error {
	for _, path := range paths {
		if path == "-" {
			if err := r.stream("stdin", stdin); err != nil {
				return err
			}
			continue
		}
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && name != path && strings.HasPrefix(entry.Name(), "."):
				return filepath.SkipDir
			case entry.IsDir() || name != path && !isManifest(name):
				return nil
			}
			return r.file(name)
		})
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
	}
	return nil
}

// isManifest reports whether a file of a folder is read: the same endings as those that kubectl reads.
func isManifest(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func (r *reader) file(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return r.stream(name, file)
}

func (r *reader) stream(name string, from io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if len(text) > maxFile {
		return fmt.Errorf("%s has more than %d MiB: split it", name, maxFile>>20)
	}
	s := &source{name: name, lines: strings.Split(string(text), "\n")}
	for line, part := range parts(text) {
		r.part(s, line, part)
	}
	return nil
}

// parts yields the documents of a file, each with the number of lines before it. They are separated as kubectl does it:
// by lines that begin with --- and have only white space behind it.
func parts(text []byte) func(yield func(int, []byte) bool) {
	return func(yield func(int, []byte) bool) {
		start, before, line := 0, 0, 0
		for at := 0; at < len(text); line++ {
			end := len(text)
			if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
				end = at + i + 1
			}
			if rest, found := bytes.CutPrefix(text[at:end], []byte("---")); found && len(bytes.TrimSpace(rest)) == 0 {
				if !yield(before, text[start:at]) {
					return
				}
				start, before = end, line+1
			}
			at = end
		}
		yield(before, text[start:])
	}
}

// part reads one document, which may be a list of objects.
func (r *reader) part(s *source, before int, text []byte) {
	node := &yaml.Node{}
	if err := yaml.Unmarshal(text, node); err != nil {
		r.fail(s, before, 1, err)
		return
	}
	if node.Kind == 0 {
		return // There are only comments.
	}
	shift(node, before)
	var value any
	if err := sigsyaml.UnmarshalStrict(text, &value); err != nil {
		r.fail(s, before, node.Content[0].Line-before, err)
		return
	}
	object, ok := value.(map[string]any)
	if !ok {
		r.others++
		return
	}
	r.object(document{source: s, value: object, node: node.Content[0]})
}

// object takes an object, or each item of a list.
func (r *reader) object(d document) {
	items, ok := d.value["items"].([]any)
	kind, _ := d.value["kind"].(string)
	version, _ := d.value["apiVersion"].(string)
	if kind == "" || version == "" {
		r.others++
		return
	}
	if !ok || !strings.HasSuffix(kind, "List") {
		r.documents = append(r.documents, d)
		return
	}
	for i, item := range items {
		at := locate(d.node, fmt.Sprintf("items[%d]", i))
		value, ok := item.(map[string]any)
		if !ok {
			r.others++
			continue
		}
		r.object(document{source: d.source, value: value, node: at})
	}
}

// yamlError is an error of the parser, with the line in the document if it is known.
var yamlError = regexp.MustCompile(`^(?:error converting YAML to JSON: )?yaml: (?:unmarshal errors:\s+)?(?:line (\d+): )?`)

// fail takes an error in a document, which begins after some lines. The line in the document is used if the error does
// not have one.
func (r *reader) fail(s *source, before, line int, err error) {
	text := oneLine(err)
	if found := yamlError.FindStringSubmatch(text); found != nil {
		text = "this is not YAML of one object: " + text[len(found[0]):]
		if n, err := strconv.Atoi(found[1]); err == nil {
			line = n
		}
	}
	r.broken = append(r.broken, unreadable{at: s.place(before+line, 1), text: text})
}

// shift moves the lines of a document to where they are in the file.
func shift(node *yaml.Node, lines int) {
	node.Line += lines
	for _, child := range node.Content {
		shift(child, lines)
	}
}
