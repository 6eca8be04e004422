// Package offline judges manifests without a cluster: it reads objects from files, gives them to the tables of the
// translation as if they were stored, and finds the place in a file that each problem is about.
package offline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsyaml "sigs.k8s.io/yaml"
)

// maxInput is how much is read of all files, in bytes. A cluster with 50,000 resources has a tenth of it.
const maxInput = 512 << 20

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
	name string
	text []byte
	// lines are those of the text. They are made when a place is asked for, because most files have no findings.
	lines func() []string
}

func newSource(name string, text []byte) *source {
	return &source{name: name, text: text, lines: sync.OnceValue(func() []string {
		return strings.Split(string(text), "\n")
	})}
}

func (s *source) place(line, column int) Place {
	p := Place{File: s.name, Line: line, Column: column}
	if lines := s.lines(); line > 0 && line <= len(lines) {
		p.Text = strings.TrimSuffix(lines[line-1], "\r")
	}
	return p
}

// part is one document: where its text begins and ends, and the number of lines before it, and of characters before it in
// its first line.
type part struct{ start, end, before, column int }

// tree is a part with the places of its values; nil if it has none.
func (s *source) tree(p part) *yaml.Node {
	node := &yaml.Node{}
	if err := yaml.Unmarshal(s.text[p.start:p.end], node); err != nil || len(node.Content) == 0 {
		return nil
	}
	shift(node, p)
	return node.Content[0]
}

// document is one object of a file.
type document struct {
	source *source
	part   part
	// within is the path of an object that is in a list, such as items[0].
	within string
	// kind is that of the object, and raw the object in JSON.
	kind schema.GroupVersionKind
	raw  []byte
	// stored reports whether it comes from a cluster, and not from a file.
	stored bool
	// moved are the mutations of the object, in order.
	moved []moves
}

// located is the document without its content, which need not be kept.
func (d document) located() document {
	d.raw = nil
	return d
}

// place finds a field of the object, such as spec.rules[0].name. If the object does not have the field, it is the place
// of the innermost field on the way to it that the object has.
func (d document) place(field string) Place { return d.placeIn(d.source.tree(d.part), field) }

// placeIn is place with the tree of the part.
func (d document) placeIn(tree *yaml.Node, field string) Place {
	if tree == nil {
		return d.source.place(d.part.before+1, d.part.column+1)
	}
	for i := len(d.moved) - 1; i >= 0; i-- {
		field = d.moved[i].origin(field)
	}
	at := locate(locate(tree, d.within), field)
	return d.source.place(at.Line, at.Column)
}

// unreadable is a document or file that is not an object.
type unreadable struct {
	at   Place
	text string
}

// reader collects the documents of files.
type reader struct {
	// unread are the parts of files that are not parsed yet.
	unread    []unread
	documents []document
	broken    []unreadable
	// size is what has been read, in bytes, and limit the most that is.
	size, limit int64
	// others counts documents that are not objects of Kubernetes, such as the values of a chart.
	others int
	// files are the names of the files and packs that have been read.
	files map[string]bool
}

// unread is a part of a file.
type unread struct {
	source *source
	part   part
}

// read reads files, and folders with all that is below them; "-" is stdin. A file that does not exist is an error. What
// is in a file and cannot be read is not: everything else is read. Pipes, devices and sockets are read only if they are
// named, because a folder may have some that never end.
func (r *reader) read(paths []string, stdin io.Reader) error {
	for _, path := range paths {
		if path == "-" && stdin == nil {
			return errors.New("stdin cannot be read for this: write a file or folder instead of -")
		}
		if path == "-" {
			before := r.size
			if err := r.stream("stdin", stdin); err != nil {
				return err
			}
			if r.size == before { // Nothing would be found then, and a broken pipe would pass for a right one.
				return errors.New("stdin is empty: look at the command before the pipe")
			}
			continue
		}
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			err = r.file(filepath.Clean(path)) // Reports name files from the working directory on, without ./ before it.
		} else if err == nil {
			err = r.folder(path)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
	}
	r.parse()
	return nil
}

// parse parses what has been read, on all CPUs that the program may use. Documents are in the order of the files.
func (r *reader) parse() {
	shares := slices.Collect(slices.Chunk(r.unread, share))
	readers := make([]reader, len(shares))
	each(len(shares), func(i int) {
		for _, u := range shares[i] {
			for _, value := range readers[i].values(u.source, u.part) {
				readers[i].part(u.source, value)
			}
		}
	})
	for i := range readers {
		r.documents = append(r.documents, readers[i].documents...)
		r.broken = append(r.broken, readers[i].broken...)
		r.others += readers[i].others
	}
	r.unread = nil
}

// folder reads the manifests of a folder, and of those below it.
func (r *reader) folder(path string) error {
	return filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != path && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case entry.IsDir() || !IsManifest(name):
			return nil
		}
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			return err
		}
		return r.file(name)
	})
}

// IsManifest reports whether a file of a folder is read: the same endings as those that kubectl reads.
func IsManifest(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// file reads a file, once: it may be named beside its folder.
func (r *reader) file(name string) error {
	if r.again(name) {
		return nil
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return r.stream(name, file)
}

// again reports whether it is called again with the name of a file or pack.
func (r *reader) again(name string) bool {
	if r.files[name] {
		return true
	}
	if r.files == nil {
		r.files = map[string]bool{}
	}
	r.files[name] = true
	return false
}

func (r *reader) stream(name string, from io.Reader) error {
	left := r.limit - r.size
	text, err := io.ReadAll(io.LimitReader(from, left+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if r.size += int64(len(text)); r.size > r.limit {
		return fmt.Errorf("%s: all files together have more than %d MiB: check them in parts", name, r.limit>>20)
	}
	s := newSource(name, text)
	for p := range parts(text) {
		r.unread = append(r.unread, unread{s, p})
	}
	return nil
}

// parts yields the documents of a file. They are separated as kubectl does it: by lines that begin with --- and have
// only white space or a comment behind it.
func parts(text []byte) iter.Seq[part] {
	return func(yield func(part) bool) {
		start, before, line := 0, 0, 0
		for at := 0; at < len(text); line++ {
			end := len(text)
			if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
				end = at + i + 1
			}
			rest, found := bytes.CutPrefix(text[at:end], []byte(separator))
			if rest = bytes.TrimSpace(rest); found && (len(rest) == 0 || rest[0] == '#') {
				if !yield(part{start, at, before, 0}) {
					return
				}
				start, before = end, line+1
			}
			at = end
		}
		yield(part{start, len(text), before, 0})
	}
}

// values divides a part into the JSON objects that follow each other in it, as jq writes them and kubectl reads them: the
// parser of YAML would read only the first one. Other parts are not divided.
func (r *reader) values(s *source, p part) (all []part) {
	text := s.text[p.start:p.end]
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return []part{p}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	for {
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			if len(all) > 0 && !errors.Is(err, io.EOF) {
				rest := bytes.TrimSpace(text[decoder.InputOffset():])
				line := 1 + bytes.Count(text[:bytes.LastIndex(text, rest)], []byte("\n"))
				r.fail(s, p.before, line, fmt.Errorf("behind an object in JSON: %w", err))
			} else if len(all) < 2 {
				return []part{p}
			}
			return all
		}
		end := int(decoder.InputOffset())
		start := end - len(value)
		lineStart := bytes.LastIndexByte(text[:start], '\n') + 1
		all = append(all, part{
			p.start + start, p.start + end, p.before + bytes.Count(text[:start], []byte("\n")),
			utf8.RuneCount(text[lineStart:start]),
		})
	}
}

// separator is what lines between two documents begin with.
const separator = "---"

// part reads one document, which may be a list of objects.
func (r *reader) part(s *source, p part) {
	text := s.text[p.start:p.end]
	if bytes.HasPrefix(text, []byte(separator)) || bytes.Contains(text, []byte("\n"+separator)) {
		// kubectl refuses it, and the parser would read only what is before it.
		before, _, _ := bytes.Cut(append([]byte("\n"), text...), []byte("\n"+separator))
		r.fail(s, p.before, 1+bytes.Count(before, []byte("\n")), errors.New("only a comment may be behind --- in its line"))
		return
	}
	raw, err := sigsyaml.YAMLToJSONStrict(text)
	if err != nil && json.Valid(text) { // Not every escape of JSON is one of YAML.
		raw, err = text, nil
	}
	if err != nil {
		r.unreadable(s, p, err)
		return
	}
	if string(raw) != "null" { // Otherwise there are only comments.
		r.object(document{source: s, part: p, raw: raw})
	}
}

// unreadable takes an error in a document. The parser of places is asked first, because its errors have lines.
func (r *reader) unreadable(s *source, p part, err error) {
	node := &yaml.Node{}
	if err := yaml.Unmarshal(s.text[p.start:p.end], node); err != nil {
		r.fail(s, p.before, 1, err)
		return
	}
	line := 1
	if len(node.Content) > 0 {
		line = node.Content[0].Line
	}
	r.fail(s, p.before, line, err)
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

// shift moves the places in a document to where they are in the file.
func shift(node *yaml.Node, p part) {
	if node.Line == 1 {
		node.Column += p.column
	}
	node.Line += p.before
	for _, child := range node.Content {
		shift(child, p)
	}
}
