// Package corpus has the objects that tests of verdicts are made of: those of the goldens, of examples, and others that
// are made of them by random changes.
package corpus

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json" // Whole numbers stay whole.
	"sigs.k8s.io/yaml"
)

// Folder is a folder of manifests: objects that refer to each other.
type Folder struct {
	// Name says where the objects come from.
	Name    string
	Objects []*unstructured.Unstructured
}

// sources are the files with folders, below the repository.
var sources = []string{
	"translator/testdata/*.txtar", "policies/*/*.txtar", "webhook/testdata/*.txtar", "cmd/gatehouse/testdata/*.txtar",
	"manifests/examples/*/*.yaml", "webhook/offline/apiserver/testdata/broken.yaml",
}

// Read reads all folders of a repository, in the order of their names. Folders without a Gateway get the stage.
func Read(root string) (folders []Folder, err error) {
	for _, pattern := range sources {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("no files at %s: %w", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				return nil, err
			}
			if f := (Folder{Name: name, Objects: objects(text)}); len(f.Objects) > 0 {
				folders = append(folders, f.staged())
			}
		}
	}
	return folders, nil
}

// part begins a file of a txtar archive.
var part = regexp.MustCompile(`(?m)^-- \S+ --\n`)

// objects are those of a txtar archive or of a YAML file, each once. Requests of goldens are objects in an envelope. What
// is not an object of a kind that is admitted is left out, for example the parts with what is expected.
func objects(text []byte) (all []*unstructured.Unstructured) {
	seen := map[string]bool{}
	for _, file := range part.Split(string(text), -1) {
		for _, document := range bytes.Split([]byte("\n"+file), []byte("\n---\n")) {
			var value map[string]any
			text, err := yaml.YAMLToJSON(document)
			if err != nil || json.Unmarshal(text, &value) != nil {
				continue
			}
			if inner, ok := value["object"].(map[string]any); ok {
				value = inner
			}
			o := &unstructured.Unstructured{Object: value}
			if key := keyOf(o); admitted(o) && !seen[key] {
				seen[key] = true
				all = append(all, bare(o))
			}
		}
	}
	return all
}

func keyOf(o *unstructured.Unstructured) string {
	return o.GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
}

// ranks say in which order the objects of a folder are created. Objects of one rank are created in the order of their
// names: then the older of two is the one whose name comes first, as it is among files, which have no age.
var ranks = map[string]int{
	"Namespace": 0, "EnvoyProxy": 1, "Secret": 1, "ConfigMap": 1, "Service": 1, "EndpointSlice": 1, "ReferenceGrant": 1,
	"Backend": 1, "GatewayClass": 2, "Gateway": 3, "ListenerSet": 4,
	"HTTPRoute": 5, "GRPCRoute": 5, "TLSRoute": 5, "TCPRoute": 5, "UDPRoute": 5,
	"BackendTLSPolicy": 6, "BackendTrafficPolicy": 6, "ClientTrafficPolicy": 6, "SecurityPolicy": 6,
}

func admitted(o *unstructured.Unstructured) bool {
	_, known := ranks[o.GetKind()]
	return known && o.GetName() != "" && o.GetAPIVersion() != ""
}

// bare is the object as a user writes it, without what the API server sets, and without the annotation that asks
// admission to overrule its own denials.
func bare(o *unstructured.Unstructured) *unstructured.Unstructured {
	delete(o.Object, "status")
	metadata, _ := o.Object["metadata"].(map[string]any)
	for _, set := range []string{"creationTimestamp", "deletionTimestamp", "uid", "resourceVersion", "generation", "finalizers"} {
		delete(metadata, set)
	}
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		delete(annotations, "gatehouse.dev/break-glass")
	}
	return o
}

// stage is what a policy of a golden is about: a route on a Gateway, with its backend.
const stage = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: NS, name: edge}
spec: {gatewayClassName: eg, listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: NS, name: orders}
spec:
  parentRefs: [{name: edge}]
  hostnames: [orders.example.com]
  rules: [{backendRefs: [{name: orders, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {namespace: NS, name: orders}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
`

// staged has a stage if the folder has no Gateway.
func (f Folder) staged() Folder {
	if slices.ContainsFunc(f.Objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Gateway" }) {
		return f
	}
	namespace := "default"
	for _, o := range f.Objects {
		namespace = cmp.Or(o.GetNamespace(), namespace)
	}
	seen := map[string]bool{}
	for _, o := range f.Objects {
		seen[keyOf(o)] = true
	}
	for _, o := range objects([]byte(strings.ReplaceAll(stage, "NS", namespace))) {
		if !seen[keyOf(o)] {
			f.Objects = append(f.Objects, o)
		}
	}
	return f
}
