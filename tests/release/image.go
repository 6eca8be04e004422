package main

import (
	"fmt"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// refName is the annotation by which tools find an image in an OCI layout.
const refName = "org.opencontainers.image.ref.name"

// labels are those of the OCI image specification that are known without knowing where the source is published.
func (o *options) labels() map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":       "gatehouse",
		prefix + "description": "A Gateway API control plane for Envoy with an admission webhook",
		prefix + "licenses":    "Apache-2.0",
		prefix + "version":     o.Version,
		prefix + "revision":    o.Commit,
		prefix + "created":     o.Created.Format(time.RFC3339),
	}
}

// imageIndex is the image for all platforms. The same options and binaries make the same bytes.
func imageIndex(o *options, programs []program) (v1.ImageIndex, error) {
	var images []mutate.IndexAddendum
	for i := range programs {
		image, err := imageOf(o, &programs[i])
		if err != nil {
			return nil, fmt.Errorf("the image for %s: %w", programs[i].platform, err)
		}
		images = append(images, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &programs[i].platform}})
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), images...)
	return mutate.Annotations(index, o.labels()).(v1.ImageIndex), nil
}

func imageOf(o *options, p *program) (v1.Image, error) {
	config := &v1.ConfigFile{
		OS:           p.platform.OS,
		Architecture: p.platform.Architecture,
		Variant:      p.platform.Variant,
		Created:      v1.Time{Time: o.Created},
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       fmt.Sprintf("%d:%d", user, user),
			Entrypoint: []string{"/" + programPath},
			WorkingDir: "/",
			Labels:     o.labels(),
		},
	}
	image, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		types.OCIConfigJSON), config)
	if err != nil {
		return nil, err
	}
	for _, part := range []struct {
		what  string
		files []file
	}{
		{"users and the certificates of public authorities", base()},
		{"gatehouse " + o.Version, []file{{path: programPath, mode: 0o755, body: p.binary}}},
	} {
		layer, err := layerOf(part.files)
		if err != nil {
			return nil, err
		}
		history := v1.History{Created: v1.Time{Time: o.Created}, CreatedBy: "make image", Comment: part.what}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: history}); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// writeLayout replaces the layout in a folder by one of the image, and answers with the image's digest.
func writeLayout(folder, version string, index v1.ImageIndex) (v1.Hash, error) {
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("the digest of the image: %w", err)
	}
	if err := os.RemoveAll(folder); err != nil {
		return v1.Hash{}, fmt.Errorf("removing the image that was there: %w", err)
	}
	path, err := layout.Write(folder, empty.Index)
	if err == nil {
		err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{refName: version}))
	}
	if err != nil {
		return v1.Hash{}, fmt.Errorf("writing the image to %s: %w", folder, err)
	}
	return digest, nil
}
