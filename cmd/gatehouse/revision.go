package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	path = strings.Trim(path, "/")
	if last := filepath.Base(path); path != "" && (last == "." || last == "..") {
		path += "/" // Only so it is the working directory.
	}
	return &revision{tree: tree, path: path}
}

// checkOut writes the files of a revision into a directory, and returns the file or folder there.
func (v *revision) checkOut(dir string) (string, error) {
	name := v.tree + ":" + v.path
	kind, err := git(nil, "cat-file", "-t", name)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	files, objects, at := []string{filepath.Base(v.path)}, name+"\n", filepath.Join(dir, filepath.Base(v.path))
	if strings.TrimSpace(string(kind)) != "blob" {
		if files, objects, err = manifestsIn(name); err != nil {
			return "", err
		}
		at = dir
	}
	contents, err := git(strings.NewReader(objects), "cat-file", "--batch", "--follow-symlinks")
	if err != nil {
		return "", fmt.Errorf("reading the files of %s: %w", name, err)
	}
	return at, write(dir, files, bytes.NewBuffer(contents))
}

// manifestsIn lists the manifests of a tree by their paths in it, with what git calls them, each in a line.
func manifestsIn(tree string) (files []string, objects string, err error) {
	list, err := git(nil, "ls-tree", "-r", "-z", "--full-tree", tree)
	if err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", tree, err)
	}
	var wanted strings.Builder
	for each := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		about, file, _ := strings.Cut(each, "\t")
		fields := strings.Fields(about) // Mode, type and name of the object.
		if len(fields) != 3 || !offline.IsManifest(file) {
			continue
		}
		object := fields[2]
		switch {
		case fields[0] == "120000" && !strings.Contains(file, "\n"): // A symbolic link is followed by its path.
			object = strings.TrimSuffix(tree, "/") + "/" + file
			if strings.HasSuffix(tree, ":") {
				object = tree + file
			}
		case !strings.HasPrefix(fields[0], "100"):
			continue
		}
		fmt.Fprintln(&wanted, object)
		files = append(files, file)
	}
	return files, wanted.String(), nil
}

// write writes files from the answers of git cat-file --batch: a line with the size, the content, and a line break. What a
// symbolic link leads to is left out unless it is a file of the revision.
func write(dir string, files []string, from *bytes.Buffer) error {
	for _, file := range files {
		line, err := from.ReadString('\n')
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		said := strings.Fields(line) // The object, its type and its size, or a word and the size of what is behind it.
		size := -1
		if len(said) > 1 {
			size, err = strconv.Atoi(said[len(said)-1])
		}
		if err != nil || size < 0 || size >= from.Len() {
			return fmt.Errorf("reading %s: git answers %q", file, strings.TrimSpace(line))
		}
		if len(said) != 3 || said[1] != "blob" {
			from.Next(size + 1)
			continue
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
