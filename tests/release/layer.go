package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	// user is who the program runs as, and its group, the one that the chart asks for.
	user        = 65532
	programPath = "gatehouse"
	rootsPath   = "etc/ssl/certs/ca-certificates.crt"
)

// file is one of a layer, root's own. A path that ends in a slash is a folder.
type file struct {
	path string
	mode int64
	body []byte
}

// base is what the program needs beside itself: nothing of it is from the machine that builds.
func base() []file {
	return []file{
		{path: "tmp/", mode: 0o1777},
		{path: "etc/passwd", mode: 0o644, body: fmt.Appendf(nil,
			"root:x:0:0:root:/:/sbin/nologin\ngatehouse:x:%d:%[1]d:gatehouse:/:/sbin/nologin\n", user)},
		{path: "etc/group", mode: 0o644, body: fmt.Appendf(nil, "root:x:0:\ngatehouse:x:%d:\n", user)},
		{path: rootsPath, mode: 0o644, body: publicRoots()},
	}
}

// publicRoots are the certificates of public authorities that Mozilla trusts without conditions. The module that has
// them is pinned by its hash.
func publicRoots() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil { // A file of certificates cannot say the condition of the others.
			b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return b.Bytes()
}

// layerOf packs files and the folders above them. No times are kept, so that the same files make the same layer.
func layerOf(files []file) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range withFolders(files) {
		header := &tar.Header{
			Name: f.path, Mode: f.mode, Size: int64(len(f.body)), Typeflag: tar.TypeReg,
			Format: tar.FormatUSTAR,
		}
		if strings.HasSuffix(f.path, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("packing %s: %w", f.path, err)
		}
		if _, err := w.Write(f.body); err != nil {
			return nil, fmt.Errorf("packing %s: %w", f.path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())),
			nil
	},
		tarball.WithMediaType(types.OCILayer))
}

// withFolders adds the folders above files, and sorts them all by path.
func withFolders(files []file) []file {
	all := slices.Clone(files)
	for _, f := range files {
		for dir := path.Dir(strings.TrimSuffix(f.path, "/")); dir != "."; dir = path.Dir(dir) {
			if !slices.ContainsFunc(all, func(known file) bool { return known.path == dir+"/" }) {
				all = append(all, file{path: dir + "/", mode: 0o755})
			}
		}
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return all
}
