package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"gatehouse/webhook/offline"
)

// revision is a path in a revision of a Git repository, such as main:deploy/.
type revision struct {
	tree, path string
}

// revisionOf reads an argument that names no file. It is nil if the argument names none of a revision either.
func revisionOf(argument string) *revision {
	if _, err := os.Lstat(argument); err == nil {
		return nil
	}
	tree, path, found := strings.Cut(argument, ":")
	if !found || tree == "" {
		return nil
	}
	return &revision{tree: tree, path: strings.Trim(path, "/")}
}

// checkOut writes the files of a revision into a directory, and returns the file or folder there.
func (v *revision) checkOut(dir string) (string, error) {
	name := v.tree + ":" + v.path
	kind, err := git(nil, "cat-file", "-t", name)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	if strings.TrimSpace(string(kind)) == "blob" {
		content, err := git(nil, "cat-file", "blob", name)
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", name, err)
		}
		file := filepath.Join(dir, filepath.Base(v.path))
		return file, os.WriteFile(file, content, 0o600)
	}
	list, err := git(nil, "ls-tree", "-r", "-z", "--full-tree", name)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	var wanted bytes.Buffer
	var files []string
	for each := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		about, file, _ := strings.Cut(each, "\t")
		fields := strings.Fields(about) // Mode, type and name of the object.
		if len(fields) == 3 && strings.HasPrefix(fields[0], "100") && offline.IsManifest(file) {
			fmt.Fprintln(&wanted, fields[2])
			files = append(files, file)
		}
	}
	contents, err := git(&wanted, "cat-file", "--batch")
	if err != nil {
		return "", fmt.Errorf("reading the files of %s: %w", name, err)
	}
	return dir, write(dir, files, bytes.NewBuffer(contents))
}

// write writes files from the answers of git cat-file --batch: a line with the size, the content, and a line break.
func write(dir string, files []string, from *bytes.Buffer) error {
	for _, file := range files {
		line, err := from.ReadString('\n')
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		var object, kind string
		var size int
		if _, err := fmt.Sscan(line, &object, &kind, &size); err != nil || size >= from.Len() {
			return fmt.Errorf("reading %s: git answers %q", file, strings.TrimSpace(line))
		}
		path := filepath.Join(dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, from.Next(size), 0o600); err != nil {
			return err
		}
		from.Next(1)
	}
	return nil
}

// git runs git in the working directory and returns what it prints.
func git(stdin io.Reader, arguments ...string) ([]byte, error) {
	cmd := exec.Command("git", arguments...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &said
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("git %s: %s", arguments[0], strings.Join(strings.Fields(said.String()), " "))
	}
	return out.Bytes(), err
}
