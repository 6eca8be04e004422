package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"gatehouse/controller/fetch/disk"
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
	annotationSize    = "gatehouse.dev/size"
	annotationFailure = "gatehouse.dev/failure"
)

// stored is what a ConfigMap has of a fetch.
type stored struct {
	// content is nil if there is none that can be trusted, and of large content.
	content []byte
	// file is large content. It is zero if there is none.
	file translator.File
	// at is when the content was fetched, or when the server last confirmed it. It is zero without content.
	at   time.Time
	etag string
	// failure is why there is no content.
	failure string
}

// KeyOf returns the key of the fetch that a ConfigMap is of. It is false for all other ConfigMaps. namespace is that of
// the control plane.
func KeyOf(namespace string, c *corev1.ConfigMap) (string, bool) {
	key, ok := strings.CutPrefix(c.Name, namePrefix)
	return key, ok && c.Namespace == namespace
}

// applied is the ConfigMap of a fetch, for a server-side apply.
func (s *stored) applied(namespace string, f *translator.Fetch) *corev1ac.ConfigMapApplyConfiguration {
	annotations := map[string]string{annotationURL: f.URL, annotationForm: f.Form}
	c := corev1ac.ConfigMap(namePrefix+f.Key(), namespace).WithLabels(map[string]string{Label: "true"})
	if s.empty() {
		annotations[annotationFailure] = s.failure
		return c.WithAnnotations(annotations)
	}
	annotations[annotationAt] = s.at.UTC().Format(time.RFC3339)
	if s.etag != "" {
		annotations[annotationETag] = s.etag
	}
	if s.content == nil {
		annotations[annotationDigest], annotations[annotationSize] = s.file.Digest, strconv.FormatInt(s.file.Size, 10)
		return c.WithAnnotations(annotations)
	}
	annotations[annotationDigest] = digest(s.content)
	return c.WithAnnotations(annotations).WithBinaryData(map[string][]byte{contentKey: s.content})
}

// empty reports whether nothing was fetched yet, or nothing that can be trusted.
func (s *stored) empty() bool { return s == nil || s.content == nil && s.file == translator.File{} }

// read reads a ConfigMap of a fetch. Content that does not have its digest was changed by somebody else, and counts as
// none. Of large content there are only the digest and the size.
func read(o metav1.Object, data map[string][]byte) *stored {
	annotations := o.GetAnnotations()
	s := &stored{etag: annotations[annotationETag]}
	content, small := data[contentKey]
	size, err := strconv.ParseInt(annotations[annotationSize], 10, 64)
	switch sum := annotations[annotationDigest]; {
	case small && digest(content) == sum:
		s.content = append([]byte{}, content...)
	case !small && disk.IsDigest(sum) && err == nil && size >= 0:
		s.file = translator.File{Digest: sum, Size: size}
	default:
		return &stored{failure: annotations[annotationFailure]}
	}
	if at, err := time.Parse(time.RFC3339, annotations[annotationAt]); err == nil {
		s.at = at // Otherwise the content is old, and is fetched again.
	}
	return s
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
