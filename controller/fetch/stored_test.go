package fetch

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/controller/fetch/disk"
	"gatehouse/policies/feature"
	"gatehouse/translator"
)

// TestStored: what is stored is read as it was.
func TestStored(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, want := range []*stored{
		{content: []byte("list"), at: at, etag: `"1"`},
		{content: []byte{0xff, 0}, at: at},
		{content: []byte{}, at: at},
		{file: translator.File{Digest: digest([]byte("module")), Size: 64 << 20}, at: at, etag: `"1"`},
		{file: translator.File{Digest: digest(nil)}, at: at},
		{failure: "it answers with status 404"},
	} {
		applied := want.applied("n", &translator.Fetch{Fetch: feature.Fetch{URL: "https://a.test/", Form: "a list"}})
		o := &metav1.ObjectMeta{Annotations: applied.Annotations}
		if diff := cmp.Diff(want, read(o, applied.BinaryData), cmp.AllowUnexported(stored{})); diff != "" {
			t.Errorf("stored and read (-want +got):\n%s", diff)
		}
	}
}

func TestKeyOf(t *testing.T) {
	for name, want := range map[[2]string]string{
		{"n", namePrefix + "k"}: "k", {"other", namePrefix + "k"}: "", {"n", "gatehouse"}: "", {"n", "k"}: "",
	} {
		key, ok := KeyOf("n", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name[0], Name: name[1]}})
		if ok != (want != "") || ok && key != want {
			t.Errorf("%s: got %q, %t", name, key, ok)
		}
	}
}

// FuzzRead checks that content is read only with its digest, large content only with a digest that can be one, and that
// everything else is read as it is stored again.
func FuzzRead(f *testing.F) {
	f.Add([]byte("list"), true, digest([]byte("list")), "", "2026-01-02T03:04:05Z", `"1"`, "")
	f.Add([]byte("list"), true, digest([]byte("other")), "7", "2026-01-02T03:04:05Z", "", "it answers with status 404")
	f.Add([]byte(nil), true, digest(nil), "", "yesterday", "", "")
	f.Add([]byte(nil), false, digest(nil), "67108864", "2026-01-02T03:04:05Z", `"1"`, "")
	f.Add([]byte(nil), false, "sha256:../../../../etc/passwd", "1", "", "", "")
	f.Add([]byte(nil), false, digest(nil), "-1", "", "", "")
	f.Fuzz(func(t *testing.T, content []byte, small bool, sum, size, at, etag, failure string) {
		o := &metav1.ObjectMeta{Annotations: map[string]string{
			annotationDigest: sum, annotationSize: size, annotationAt: at, annotationETag: etag, annotationFailure: failure,
		}}
		data := map[string][]byte{}
		if small {
			data[contentKey] = content
		}
		s := read(o, data)
		if whole := s.content != nil; whole != (small && sum == digest(content)) || whole &&
			!bytes.Equal(s.content, content) {
			t.Errorf("content %q with digest %q is read as %q", content, sum, s.content)
		}
		if large := s.file != (translator.File{}); large && (small || !disk.IsDigest(s.file.Digest) || s.file.Digest != sum ||
			s.file.Size < 0) {
			t.Errorf("digest %q and size %q are read as %+v", sum, size, s.file)
		}
		applied := s.applied("n", &translator.Fetch{})
		again := read(&metav1.ObjectMeta{Annotations: applied.Annotations}, applied.BinaryData)
		if again.failure != s.failure || again.etag != s.etag || again.file != s.file ||
			!bytes.Equal(again.content, s.content) {
			t.Errorf("%+v is stored and read as %+v", s, again)
		}
	})
}
