package webhook

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// readAnnotations are the prefixes of annotations that Gatehouse reads.
var readAnnotations = []string{"gateway.envoyproxy.io/", "gatehouse.dev/", "cert-manager.io/", "acme.cert-manager.io/"}

// fields decodes an object into maps, with whole numbers as int64.
func fields(raw []byte) (map[string]any, error) {
	var object map[string]any
	if err := utiljson.Unmarshal(raw, &object); err != nil {
		return nil, fmt.Errorf("decoding JSON: %w", err)
	}
	return object, nil
}

// leaving reports whether the object is being deleted. The only changes to it then are about finalizers.
func leaving(object map[string]any) bool {
	metadata, _ := object["metadata"].(map[string]any)
	return metadata["deletionTimestamp"] != nil
}

// sameInput reports whether Gatehouse reads the same data from both: everything except the status and the metadata, and
// from the metadata the labels, which selectors match, and some annotations.
func sameInput(a, b map[string]any) bool {
	return reflect.DeepEqual(content(a), content(b)) &&
		reflect.DeepEqual(entries(a, "labels", always), entries(b, "labels", always)) &&
		reflect.DeepEqual(entries(a, "annotations", isRead), entries(b, "annotations", isRead))
}

func content(object map[string]any) map[string]any {
	content := maps.Clone(object)
	delete(content, "metadata")
	delete(content, "status")
	return content
}

// entries are the entries of a map of strings in the metadata that matter; an absent map counts as empty.
func entries(object map[string]any, field string, matters func(string) bool) map[string]any {
	kept := map[string]any{}
	metadata, _ := object["metadata"].(map[string]any)
	all, _ := metadata[field].(map[string]any)
	for key, value := range all {
		if matters(key) {
			kept[key] = value
		}
	}
	return kept
}

func always(string) bool { return true }

func isRead(annotation string) bool {
	for _, prefix := range readAnnotations {
		if strings.HasPrefix(annotation, prefix) {
			return true
		}
	}
	return false
}
