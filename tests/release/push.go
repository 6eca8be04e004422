package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// spdxType is the type of the bill of materials, which is pushed as an artifact that refers to the image.
const spdxType = types.MediaType("application/spdx+json")

// pushImage pushes the image by its version, and its bill of materials beside it, which clients find by the image's
// referrers.
func pushImage(ctx context.Context, o *options, index v1.ImageIndex, bill []byte,
	say func(format string, args ...any),
) error {
	repository, err := name.NewRepository(o.Push)
	if err != nil {
		return fmt.Errorf("push %q: write it as registry.example/gatehouse: %w", o.Push, err)
	}
	settings := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	tag := repository.Tag(o.Version)
	if err := free(tag, index, settings); err != nil {
		return err
	}
	if err := remote.WriteIndex(tag, index, settings...); err != nil {
		return fmt.Errorf("pushing the image to %s: %w", tag, err)
	}
	say("pushed %s", tag)
	artifact, err := billArtifact(index, bill)
	if err != nil {
		return fmt.Errorf("packing the bill of materials: %w", err)
	}
	digest, err := artifact.Digest()
	if err != nil {
		return fmt.Errorf("the digest of the bill of materials: %w", err)
	}
	if err := remote.Write(repository.Digest(digest.String()), artifact, settings...); err != nil {
		return fmt.Errorf("pushing the bill of materials to %s: %w", repository, err)
	}
	say("pushed its bill of materials as %s@%s", repository, digest)
	return nil
}

// free refuses a tag by which another image is in the registry.
func free(tag name.Tag, index v1.ImageIndex, settings []remote.Option) error {
	digest, err := index.Digest()
	if err != nil {
		return fmt.Errorf("the digest of the image: %w", err)
	}
	there, err := remote.Head(tag, settings...)
	var answer *transport.Error
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return nil
	case err != nil:
		return fmt.Errorf("asking the registry for %s: %w", tag, err)
	case there.Digest != digest:
		return fmt.Errorf("%s is there already as %s, and this is %s: give it another version", tag, there.Digest, digest)
	}
	return nil
}

func billArtifact(index v1.ImageIndex, bill []byte) (v1.Image, error) {
	subject, err := partial.Descriptor(index)
	if err != nil {
		return nil, err
	}
	artifact, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		mutate.Addendum{Layer: static.NewLayer(bill, spdxType)})
	if err != nil {
		return nil, err
	}
	return mutate.Subject(mutate.ConfigMediaType(artifact, spdxType), *subject).(v1.Image), nil
}

// charts are pushed in this order. The first names the image, in the repository as imageOfTree.
var charts = []string{"gatehouse", "gatehouse-crds"}

const imageOfTree = "image: gatehouse:dev\n"

// pushCharts pushes the charts by the image's version. They name the image by its digest.
func pushCharts(ctx context.Context, o *options, image v1.Hash, say func(format string, args ...any)) error {
	folder, err := os.MkdirTemp("", "gatehouse-charts-")
	if err != nil {
		return fmt.Errorf("making a folder for charts: %w", err)
	}
	defer os.RemoveAll(folder)
	version := strings.TrimPrefix(o.Version, "v")
	to := "oci://" + o.Push + "/charts"
	for _, chart := range charts {
		copied := filepath.Join(folder, chart)
		if err := os.CopyFS(copied, os.DirFS(filepath.Join(o.Root, "manifests", chart))); err != nil {
			return fmt.Errorf("copying chart %s: %w", chart, err)
		}
		if chart == charts[0] {
			if err := nameImage(filepath.Join(copied, "values.yaml"),
				fmt.Sprintf("%s:%s@%s", o.Push, o.Version, image)); err != nil {
				return err
			}
		}
		if err := o.helm(ctx, "package", copied, "--version="+version, "--app-version="+o.Version,
			"--destination="+folder); err != nil {
			return err
		}
		push := []string{"push", filepath.Join(folder, chart+"-"+version+".tgz"), to}
		if registry, err := name.NewRepository(o.Push); err == nil && registry.Scheme() == "http" {
			push = append(push, "--plain-http")
		}
		if err := o.helm(ctx, push...); err != nil {
			return err
		}
		say("pushed %s/%s, version %s", to, chart, version)
	}
	return nil
}

// nameImage writes the image into a chart's values.
func nameImage(values, image string) error {
	text, err := os.ReadFile(values)
	if err != nil {
		return fmt.Errorf("reading the chart's values: %w", err)
	}
	if n := strings.Count(string(text), imageOfTree); n != 1 {
		return fmt.Errorf("%s must have the line %q once, where the image is written, and has it %d times", values,
			strings.TrimSpace(imageOfTree), n)
	}
	if err := os.WriteFile(values, []byte(strings.Replace(string(text), imageOfTree, "image: "+image+"\n", 1)),
		0o600); err != nil {
		return fmt.Errorf("writing the chart's values: %w", err)
	}
	return nil
}

func (o *options) helm(ctx context.Context, arguments ...string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(o.Root, "bin", "helm"), arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("helm %s: %w: %s", arguments[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
