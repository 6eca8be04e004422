// Package volume computes what a pod's volumes hold and writes it so that containers see each change at once or not
// at all.
package volume

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// Sources finds what volumes may refer to. A missing object is nil.
type Sources interface {
	ConfigMap(namespace, name string) *corev1.ConfigMap
	Secret(namespace, name string) *corev1.Secret
	// Token returns a valid token of the pod's service account.
	Token(pod *corev1.Pod, t *corev1.ServiceAccountTokenProjection) (string, error)
}

// ErrUnsupported is the error of a volume of a kind that this node does not have.
var ErrUnsupported = errors.New("not a kind of volume that this node has: use emptyDir, configMap, secret, downwardAPI, projected or hostPath")

// Set is the volumes of one pod.
type Set struct {
	dir string
}

// NewSet returns the volumes that live below dir.
func NewSet(dir string) *Set { return &Set{dir: dir} }

// Path returns where the machine has a volume's content.
func (s *Set) Path(v *corev1.Volume) string {
	if v.HostPath != nil {
		return v.HostPath.Path
	}
	return filepath.Join(s.dir, v.Name)
}

// Update makes every volume of the pod and brings its content up to date. The error joins what is missing; volumes
// that have all they need are written nevertheless, and one that has lost something keeps what it had.
func (s *Set) Update(pod *corev1.Pod, from Sources) error {
	var missing []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if err := s.update(pod, v, from); err != nil {
			missing = append(missing, fmt.Errorf("volume %q: %w", v.Name, err))
		}
	}
	return errors.Join(missing...)
}

func (s *Set) update(pod *corev1.Pod, v *corev1.Volume, from Sources) error {
	path := s.Path(v)
	switch {
	case v.EmptyDir != nil:
		return makeShared(path)
	case v.HostPath != nil:
		return hostPath(v.HostPath)
	}
	files, err := contents(pod, v, from)
	if err != nil {
		return err
	}
	return Write(path, files)
}

// makeShared makes a directory that every user of the pod may write to.
func makeShared(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return os.Chmod(path, 0o777)
}

func hostPath(h *corev1.HostPathVolumeSource) error {
	if h.Type != nil && *h.Type == corev1.HostPathDirectoryOrCreate {
		return os.MkdirAll(h.Path, 0o755)
	}
	if _, err := os.Stat(h.Path); err != nil {
		return fmt.Errorf("host path: %w", err)
	}
	return nil
}

// contents returns the files of a volume that is made from objects of the API.
func contents(pod *corev1.Pod, v *corev1.Volume, from Sources) (Files, error) {
	files := Files{}
	p := projection{pod: pod, from: from, files: files, mode: 0o644}
	switch {
	case v.ConfigMap != nil:
		p.setMode(v.ConfigMap.DefaultMode)
		return files, p.configMap(v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		p.setMode(v.Secret.DefaultMode)
		return files, p.secret(v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.DownwardAPI != nil:
		p.setMode(v.DownwardAPI.DefaultMode)
		return files, p.downward(v.DownwardAPI.Items)
	case v.Projected != nil:
		p.setMode(v.Projected.DefaultMode)
		for _, source := range v.Projected.Sources {
			if err := p.project(&source); err != nil {
				return nil, err
			}
		}
		return files, nil
	}
	return nil, ErrUnsupported
}

// projection collects the files of one volume.
type projection struct {
	pod   *corev1.Pod
	from  Sources
	files Files
	mode  fs.FileMode
}

func (p *projection) setMode(mode *int32) {
	if mode != nil {
		p.mode = fs.FileMode(*mode)
	}
}

func (p *projection) add(path string, data []byte, mode *int32) {
	f := File{Data: data, Mode: p.mode}
	if mode != nil {
		f.Mode = fs.FileMode(*mode)
	}
	p.files[path] = f
}

func (p *projection) project(s *corev1.VolumeProjection) error {
	switch {
	case s.ConfigMap != nil:
		return p.configMap(s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
	case s.Secret != nil:
		return p.secret(s.Secret.Name, s.Secret.Items, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return p.downward(s.DownwardAPI.Items)
	case s.ServiceAccountToken != nil:
		token, err := p.from.Token(p.pod, s.ServiceAccountToken)
		if err != nil {
			return fmt.Errorf("token of service account %q: %w", p.pod.Spec.ServiceAccountName, err)
		}
		p.add(s.ServiceAccountToken.Path, []byte(token), nil)
		return nil
	}
	return ErrUnsupported
}

func (p *projection) configMap(name string, items []corev1.KeyToPath, optional *bool) error {
	found := p.from.ConfigMap(p.pod.Namespace, name)
	if found == nil {
		return notFound("configmap", name, optional)
	}
	data := make(map[string][]byte, len(found.Data)+len(found.BinaryData))
	for k, v := range found.Data {
		data[k] = []byte(v)
	}
	for k, v := range found.BinaryData {
		data[k] = v
	}
	return p.keys(fmt.Sprintf("configmap %q", name), data, items, optional)
}

func (p *projection) secret(name string, items []corev1.KeyToPath, optional *bool) error {
	found := p.from.Secret(p.pod.Namespace, name)
	if found == nil {
		return notFound("secret", name, optional)
	}
	return p.keys(fmt.Sprintf("secret %q", name), found.Data, items, optional)
}

func notFound(kind, name string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("%s %q not found", kind, name)
}

func (p *projection) keys(object string, data map[string][]byte, items []corev1.KeyToPath, optional *bool) error {
	if len(items) == 0 {
		for k, v := range data {
			p.add(k, v, nil)
		}
		return nil
	}
	for _, item := range items {
		v, ok := data[item.Key]
		if ok {
			p.add(item.Path, v, item.Mode)
			continue
		}
		if optional == nil || !*optional {
			return fmt.Errorf("%s has no key %q", object, item.Key)
		}
	}
	return nil
}

// digest tells contents apart; it names the directory that holds them.
func digest(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum) }
