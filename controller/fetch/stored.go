package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"gatehouse/translator"
)

// Each fetch has a ConfigMap in the namespace of the control plane. Its name is namePrefix and the key of the fetch.
const (
	namePrefix = "gatehouse-fetched-"
	contentKey = "content"
	// Label is on each of these ConfigMaps, for users who look for them.
	Label = "gatehouse.dev/fetched"

	annotationURL     = "gatehouse.dev/url"
	annotationForm    = "gatehouse.dev/form"
	annotationAt      = "gatehouse.dev/fetched-at"
	annotationETag    = "gatehouse.dev/etag"
	annotationDigest  = "gatehouse.dev/digest"
	annotationFailure = "gatehouse.dev/failure"
)

// stored is what a ConfigMap has of a fetch.
type stored struct {
	// content is nil if there is none that can be trusted.
	content []byte
	// at is when the content was fetched, or when the server last confirmed it. It is zero without content.
	at   time.Time
	etag string
	// failure is why there is no content.
	failure string
}

// KeyOf returns the key of the fetch that a ConfigMap is of. It is false for all other ConfigMaps. namespace is that of the
// control plane.
func KeyOf(namespace string, c *corev1.ConfigMap) (string, bool) {
	key, ok := strings.CutPrefix(c.Name, namePrefix)
	return key, ok && c.Namespace == namespace
}

// applied is the ConfigMap of a fetch, for a server-side apply.
func (s *stored) applied(namespace string, f *translator.Fetch) *corev1ac.ConfigMapApplyConfiguration {
	annotations := map[string]string{annotationURL: f.URL, annotationForm: f.Form}
	c := corev1ac.ConfigMap(namePrefix+f.Key(), namespace).WithLabels(map[string]string{Label: "true"})
	if s.content == nil {
		annotations[annotationFailure] = s.failure
		return c.WithAnnotations(annotations)
	}
	annotations[annotationAt], annotations[annotationDigest] = s.at.UTC().Format(time.RFC3339), digest(s.content)
	if s.etag != "" {
		annotations[annotationETag] = s.etag
	}
	return c.WithAnnotations(annotations).WithBinaryData(map[string][]byte{contentKey: s.content})
}

// read reads a ConfigMap of a fetch. Content that does not have its digest was changed by somebody else, and counts as
// none.
func read(o metav1.Object, data map[string][]byte) *stored {
	annotations := o.GetAnnotations()
	content, ok := data[contentKey]
	if !ok || digest(content) != annotations[annotationDigest] {
		return &stored{failure: annotations[annotationFailure]}
	}
	if content == nil {
		content = []byte{}
	}
	s := &stored{content: content, etag: annotations[annotationETag]}
	if at, err := time.Parse(time.RFC3339, annotations[annotationAt]); err == nil {
		s.at = at // Otherwise the content is old, and is fetched again.
	}
	return s
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
