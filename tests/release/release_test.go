package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	spdxjson "github.com/spdx/tools-golang/json"
)

const (
	version = "v0.1.2-3-gabcdef0"
	commit  = "abcdef0123456789abcdef0123456789abcdef01"
)

// TestRelease builds the image twice, pushes it to a registry on loopback, and looks at it as those who pull it do.
func TestRelease(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true)))
	defer server.Close()
	repository, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/team/gatehouse")
	if err != nil {
		t.Fatal(err)
	}
	o := options{
		Root: "../..", Version: version, Commit: commit, Created: time.Unix(1700000000, 0).UTC(),
		Platforms: []string{"linux/amd64", "linux/arm64"},
		Bill:      "bin/gatehouse.cdx.json", Push: repository.Name(),
	}
	first, second := o, o
	first.Out, second.Out, first.Push = t.TempDir(), t.TempDir(), ""
	if err := release(t.Context(), &first, t.Logf); err != nil {
		t.Fatal(err)
	}
	disturb(t)
	if err := release(t.Context(), &second, t.Logf); err != nil {
		t.Fatal(err)
	}
	digest := digestOf(t, first.Out)
	if again := digestOf(t, second.Out); again != digest {
		t.Fatalf("two builds of one commit are %s and %s", digest, again)
	}
	pulled, err := remote.Index(repository.Tag(version))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(pulled); err != nil {
		t.Error(err)
	}
	if got, err := pulled.Digest(); err != nil || got != digest {
		t.Errorf("pulled %s: %v", got, err)
	}
	t.Run("amd64", func(t *testing.T) { checkImage(t, repository, "amd64", elf.EM_X86_64) })
	t.Run("arm64", func(t *testing.T) { checkImage(t, repository, "arm64", elf.EM_AARCH64) })
	t.Run("bill of materials", func(t *testing.T) { checkBill(t, repository.Digest(digest.String())) })
	t.Run("a tag stays", func(t *testing.T) { checkTagStays(t, second, pulled) })
	t.Run("charts", func(t *testing.T) { checkCharts(t, repository.Name(), digest) })
}

// disturb sets what would change a binary, in the environment and as `go env -w` does, until the test ends.
func disturb(t *testing.T) {
	t.Helper()
	for variable, value := range map[string]string{
		"GOFLAGS": "-tags=gatehousedebug", "GOAMD64": "v3", "GOARM64": "v9.0",
		"GOFIPS140": "latest",
	} {
		t.Setenv(variable, value)
	}
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("GOEXPERIMENT=nosimd,noregabiargs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOENV", file)
}

// digestOf is the digest of the only image in an OCI layout.
func digestOf(t *testing.T, folder string) v1.Hash {
	t.Helper()
	path, err := layout.FromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations[refName] != version {
		t.Fatalf("got %+v: %v", manifest, err)
	}
	return manifest.Manifests[0].Digest
}

// checkImage pulls the image of an architecture, looks at every file, and runs it if it is for this machine.
func checkImage(t *testing.T, repository name.Repository, architecture string, machine elf.Machine) {
	image, err := remote.Image(repository.Tag(version), remote.WithPlatform(v1.Platform{
		OS:           "linux",
		Architecture: architecture,
	}))
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "65532:65532" || !cmp.Equal(c.Entrypoint, []string{"/gatehouse"}) || len(c.Cmd) > 0 ||
		c.Labels["org.opencontainers.image.version"] != version || c.Labels["org.opencontainers.image.revision"] != commit ||
		c.Labels["org.opencontainers.image.created"] != "2023-11-14T22:13:20Z" || config.Architecture != architecture ||
		config.OS != "linux" {
		t.Errorf("got %+v", config)
	}
	root := t.TempDir()
	files := unpack(t, image, root)
	want := map[string]int64{
		"etc": 0o755, "etc/ssl": 0o755, "etc/ssl/certs": 0o755, "etc/passwd": 0o644, "etc/group": 0o644, rootsPath: 0o644,
		"tmp":       0o1777,
		"gatehouse": 0o755,
	}
	if d := cmp.Diff(want, files); d != "" {
		t.Error(d)
	}
	if certificates, err := os.ReadFile(filepath.Join(root, rootsPath)); err != nil ||
		bytes.Count(certificates, []byte("BEGIN CERTIFICATE")) < 50 {
		t.Errorf("the certificates of public authorities are %d bytes: %v", len(certificates), err)
	}
	binary, err := elf.Open(filepath.Join(root, "gatehouse"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if libraries, err := binary.ImportedLibraries(); err == nil && len(libraries) > 0 || binary.Machine != machine {
		t.Errorf("a binary for %s that needs %v", binary.Machine, libraries)
	}
	if architecture != "amd64" {
		return
	}
	entrypoint := exec.CommandContext(t.Context(), config.Config.Entrypoint[0], "version")
	entrypoint.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}}
	entrypoint.Dir, entrypoint.Env = "/", []string{}
	if out, err := entrypoint.CombinedOutput(); err != nil || string(out) != version+"\n" {
		t.Errorf("the entrypoint says %q: %v", out, err)
	}
}

// unpack writes an image's files into a folder that every user may read, and answers with their modes.
func unpack(t *testing.T, image v1.Image, root string) map[string]int64 {
	t.Helper()
	for dir := root; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	packed := mutate.Extract(image)
	defer packed.Close()
	files := map[string]int64{}
	for r := tar.NewReader(packed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s is of %d:%d and of %s", header.Name, header.Uid, header.Gid, header.ModTime)
		}
		files[header.Name] = header.Mode
		path := filepath.Join(root, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var body []byte
			if body, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, body, os.FileMode(header.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkBill finds the bill of materials by the image that it is about.
func checkBill(t *testing.T, image name.Digest) {
	referrers, err := remote.Referrers(image)
	if err != nil {
		t.Fatal(err)
	}
	found, err := referrers.IndexManifest()
	if err != nil || len(found.Manifests) != 1 || found.Manifests[0].ArtifactType != string(spdxType) {
		t.Fatalf("got %+v: %v", found, err)
	}
	artifact, err := remote.Image(image.Context().Digest(found.Manifests[0].Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := artifact.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("got %d layers: %v", len(layers), err)
	}
	text, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	document, err := spdxjson.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, p := range document.Packages {
		versions[p.PackageName] = p.PackageVersion
	}
	if versions["gatehouse"] != version || !strings.HasPrefix(versions["sigs.k8s.io/controller-runtime"], "v0.") ||
		len(versions) < 40 ||
		len(document.Relationships) != len(document.Packages) {
		t.Errorf("%d packages, %d relationships: %v", len(document.Packages), len(document.Relationships), versions)
	}
}

// checkCharts pulls the charts as users do, and renders the one that runs the image.
func checkCharts(t *testing.T, repository string, digest v1.Hash) {
	const chartVersion = "0.1.2-3-gabcdef0"
	folder := t.TempDir()
	for _, chart := range charts {
		helm(t, "pull", "oci://"+repository+"/charts/"+chart, "--version="+chartVersion, "--plain-http",
			"--destination="+folder)
		if out := helm(t, "show", "chart", filepath.Join(folder, chart+"-"+chartVersion+".tgz")); !strings.Contains(out,
			"appVersion: "+version+"\n") {
			t.Errorf("the chart %s says:\n%s", chart, out)
		}
	}
	out := helm(t, "template", "gatehouse", filepath.Join(folder, charts[0]+"-"+chartVersion+".tgz"))
	if image := "image: " + repository + ":" + version + "@" + digest.String(); !strings.Contains(out, image+"\n") {
		t.Errorf("the chart does not run %s:\n%s", image, out)
	}
}

// checkTagStays pushes the same image by its tag again, which is taken, and another one, which is not.
func checkTagStays(t *testing.T, o options, same v1.ImageIndex) {
	if err := pushImage(t.Context(), &o, same, []byte("{}"), t.Logf); err != nil {
		t.Errorf("the same image again: %v", err)
	}
	other := mutate.Annotations(same, map[string]string{"other": "true"}).(v1.ImageIndex)
	if err := pushImage(t.Context(), &o, other, []byte("{}"), t.Logf); err == nil ||
		!strings.Contains(err.Error(), version+" is there already") {
		t.Errorf("another image by the same tag: %v", err)
	}
	o.Version += "-dirty"
	if err := o.complete(); err == nil {
		t.Error("what is not committed is pushed")
	}
}

func helm(t *testing.T, arguments ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "../../bin/helm", arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("helm %s: %v: %s", arguments[0], err, out)
	}
	return string(out)
}

func TestOptionsAreJudged(t *testing.T) {
	for what, o := range map[string]options{
		"a version without its letter": {Version: "1.2.3"},
		"no version":                   {},
		"no bill of materials":         {Version: "v1", Bill: "nowhere.json"},
	} {
		if err := release(t.Context(), &o, t.Logf); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	if _, err := build(t.Context(), &options{Platforms: []string{"amd64"}}, t.Logf); err == nil {
		t.Error("a platform without a system: taken")
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte("image: another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := nameImage(values, "gatehouse:v1"); err == nil {
		t.Error("values that do not name the image: taken")
	}
}
