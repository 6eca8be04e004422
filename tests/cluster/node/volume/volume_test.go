package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// objects is a Sources with one ConfigMap, "settings", and one Secret, "keys".
type objects struct{}

func (objects) ConfigMap(_, name string) *corev1.ConfigMap {
	if name != "settings" {
		return nil
	}
	return &corev1.ConfigMap{Data: map[string]string{"level": "debug"}, BinaryData: map[string][]byte{"raw": {1}}}
}

func (objects) Secret(_, name string) *corev1.Secret {
	if name != "keys" {
		return nil
	}
	return &corev1.Secret{Data: map[string][]byte{"tls.crt": []byte("certificate"), "tls.key": []byte("key")}}
}

func (objects) Token(_ *corev1.Pod, t *corev1.ServiceAccountTokenProjection) (string, error) {
	return "token for " + t.Audience, nil
}

func ptr[T any](v T) *T { return &v }

func ref(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

// contentsCases are volumes with the files or the error that they give.
var contentsCases = map[string]struct {
	source corev1.VolumeSource
	want   map[string]string
	err    string
}{
	"all keys of a config map": {
		source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: ref("settings")}},
		want:   map[string]string{"level": "debug", "raw": "\x01"},
	},
	"chosen keys of a secret": {
		source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: "keys",
			Items:      []corev1.KeyToPath{{Key: "tls.crt", Path: "a/b/crt"}},
		}},
		want: map[string]string{"a/b/crt": "certificate"},
	},
	"a missing secret": {
		source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "absent"}},
		err:    `secret "absent" not found`,
	},
	"an optional missing secret": {
		source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "absent", Optional: ptr(true)}},
		want:   map[string]string{},
	},
	"a missing key": {
		source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: ref("settings"),
			Items:                []corev1.KeyToPath{{Key: "size", Path: "s"}},
		}},
		err: `configmap "settings" has no key "size"`,
	},
	"what a pod gets by default": {
		source: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", Audience: "api"}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: ref("settings"),
				Items:                []corev1.KeyToPath{{Key: "level", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path:     "namespace",
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"},
			}}}},
		}}},
		want: map[string]string{"token": "token for api", "ca.crt": "debug", "namespace": "ns"},
	},
	"labels": {
		source: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
		want:   map[string]string{"labels": "app=\"x\"\nzone=\"\\\"y\\\"\""},
	},
	"another kind": {
		source: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}},
		err:    ErrUnsupported.Error(),
	},
}

func TestContents(t *testing.T) {
	for name, tc := range contentsCases {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Namespace: "ns",
				Labels:    map[string]string{"zone": `"y"`, "app": "x"},
			}}
			pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: tc.source}}
			dir := t.TempDir()
			err := NewSet(dir).Update(pod, objects{})
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, read(t, filepath.Join(dir, "v"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWriteReplacesAllAtOnce(t *testing.T) {
	dir := t.TempDir()
	write := func(files Files) {
		t.Helper()
		if err := Write(dir, files); err != nil {
			t.Fatal(err)
		}
	}
	write(Files{"a": {Data: []byte("1"), Mode: 0o600}, "sub/b": {Data: []byte("1"), Mode: 0o644}})
	first, err := filepath.EvalSymlinks(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(first); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode of a: %v %v", info, err)
	}
	write(Files{"a": {Data: []byte("1"), Mode: 0o600}, "sub/b": {Data: []byte("1"), Mode: 0o644}})
	if again, err := filepath.EvalSymlinks(filepath.Join(dir, "a")); err != nil || again != first {
		t.Errorf("the same content was written again: %s, then %s (%v)", first, again, err)
	}
	write(Files{"a": {Data: []byte("2"), Mode: 0o644}, "c": {Data: []byte("2"), Mode: 0o644}})
	if diff := cmp.Diff(map[string]string{"a": "2", "c": "2"}, read(t, dir)); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old content is still there: %v", err)
	}
}

// read returns the files below dir that a program would find, following the links.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	var walk func(path string)
	walk = func(path string) {
		entries, err := os.ReadDir(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "..") {
				continue
			}
			name := filepath.Join(path, e.Name())
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				walk(name)
				continue
			}
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			found[name] = string(data)
		}
	}
	walk("")
	return found
}
