// Package manifests has the CRDs of this folder, and those of Gateway API that make puts here, as parts of the program.
package manifests

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

//go:embed gatehouse-crds/files/*.yaml
var ours embed.FS

// theirs is the folder that embed.sh fills. The folder always exists, so that the program can be built without it.
//
//go:embed all:crds
var theirs embed.FS

// CRDs returns our CRDs, and those of Gateway API's experimental channel if the program was built with them: without
// descriptions, and of the release that go.mod pins.
func CRDs() (crds []*apiextensionsv1.CustomResourceDefinition, withGatewayAPI bool, err error) {
	files, err := fs.Glob(ours, "gatehouse-crds/files/*.yaml")
	if err != nil {
		return nil, false, fmt.Errorf("listing CRDs: %w", err)
	}
	var texts [][]byte
	for _, name := range files {
		text, err := ours.ReadFile(name)
		if err != nil {
			return nil, false, fmt.Errorf("reading %s: %w", name, err)
		}
		texts = append(texts, text)
	}
	packed, err := theirs.ReadFile("crds/gateway-api.yaml.gz")
	if withGatewayAPI = err == nil; withGatewayAPI {
		text, err := unpacked(packed)
		if err != nil {
			return nil, false, fmt.Errorf("unpacking the CRDs of Gateway API: %w", err)
		}
		texts = append(texts, bytes.Split(text, []byte("\n---\n"))...)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("reading the CRDs of Gateway API: %w", err)
	}
	for _, text := range texts {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			return nil, false, fmt.Errorf("decoding a CRD: %w", err)
		}
		if crd.Kind == "CustomResourceDefinition" { // Gateway API's files contain an admission policy too.
			crds = append(crds, crd)
		}
	}
	return crds, withGatewayAPI, nil
}

func unpacked(packed []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}
