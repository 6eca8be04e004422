package node

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/tests/cluster/node/env"
	"gatehouse/tests/cluster/node/sandbox"
)

// binaries is where a container finds the program of its image, which is also the image's entry point, unless its command
// names another place.
const binaries = "/usr/local/bin/"

// imageUser is the user of images for a pod that must not run as root and names no user: that of distroless images.
const imageUser = 65532

// imageError says that an image is not to be had.
type imageError struct{ error }

// sandboxSpec computes the container as it is to be started. An error says what is missing.
//
// All images share the machine's own files; an image adds only its program. Of the security context, users, groups and
// the read-only root are honoured.
func (c *container) sandboxSpec() (*sandbox.Spec, error) {
	p := c.pod
	object := p.withStatus()
	binary, err := p.binaryFor(c.spec.Image)
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		return nil, imageError{err}
	}
	vars, err := env.Of(object, c.spec, p.sources)
	if err != nil {
		return nil, err
	}
	program := binaries + path.Base(binary)
	command := env.ExpandAll(c.spec.Command, vars)
	switch {
	case len(command) == 0:
		command = []string{program}
	case path.IsAbs(command[0]) && path.Base(command[0]) == path.Base(binary):
		program = command[0] // A command with the whole path says where the image has its program.
	}
	s := &sandbox.Spec{
		Hostname:   hostName(object),
		Command:    append(command, env.ExpandAll(c.spec.Args, vars)...),
		Env:        vars.Environ(),
		WorkingDir: c.spec.WorkingDir,
		Files: map[string]string{
			"/etc/hostname":    hostName(object) + "\n",
			"/etc/hosts":       hosts(object, p.network.Addrs, p.ClusterDomain),
			"/etc/resolv.conf": resolvConf(object, p.gateway(), p.ClusterDomain),
		},
		Mounts: []sandbox.Mount{{Source: binary, Target: program, ReadOnly: true}},
	}
	applySecurity(s, object.Spec.SecurityContext, c.spec.SecurityContext)
	mounts, err := c.mounts(object, vars)
	s.Mounts = append(s.Mounts, mounts...)
	return s, err
}

// mounts returns the container's volume mounts.
func (c *container) mounts(object *corev1.Pod, vars env.Vars) ([]sandbox.Mount, error) {
	var mounts []sandbox.Mount
	for _, m := range c.spec.VolumeMounts {
		for i := range object.Spec.Volumes {
			v := &object.Spec.Volumes[i]
			if v.Name != m.Name {
				continue
			}
			sub := m.SubPath
			if m.SubPathExpr != "" {
				sub = env.Expand(m.SubPathExpr, vars)
			}
			source, err := subPath(c.pod.volumes.Path(v), sub, v.EmptyDir != nil || v.HostPath != nil)
			if err != nil {
				return nil, fmt.Errorf("mount %s: %w", m.MountPath, err)
			}
			readOnly := m.ReadOnly || v.EmptyDir == nil && v.HostPath == nil
			mounts = append(mounts, sandbox.Mount{Source: source, Target: m.MountPath, ReadOnly: readOnly})
		}
	}
	return mounts, nil
}

// subPath returns the file or directory of a volume that a mount wants. In a volume that containers may write to, it is
// made if it is not there.
func subPath(volume, sub string, writable bool) (string, error) {
	if sub == "" {
		return volume, nil
	}
	if !filepath.IsLocal(sub) {
		return "", fmt.Errorf("subPath %q leads out of the volume", sub)
	}
	full := filepath.Join(volume, sub)
	if _, err := os.Stat(full); os.IsNotExist(err) && writable {
		if err := os.MkdirAll(full, 0o777); err != nil {
			return "", fmt.Errorf("make subPath %q: %w", sub, err)
		}
	}
	resolved, err := filepath.EvalSymlinks(full)
	if err != nil {
		return "", fmt.Errorf("subPath %q: %w", sub, err)
	}
	if rest, err := filepath.Rel(volume, resolved); err != nil || strings.HasPrefix(rest, "../") {
		return "", fmt.Errorf("subPath %q leads out of the volume", sub)
	}
	return resolved, nil
}

// applySecurity takes over users and groups; the container's own security context goes before the pod's.
func applySecurity(s *sandbox.Spec, pod *corev1.PodSecurityContext, own *corev1.SecurityContext) {
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	if own == nil {
		own = &corev1.SecurityContext{}
	}
	user, group, nonRoot := first(own.RunAsUser, pod.RunAsUser), first(own.RunAsGroup, pod.RunAsGroup),
		first(own.RunAsNonRoot, pod.RunAsNonRoot)
	switch {
	case user != nil:
		s.UID = uint32(*user)
	case nonRoot != nil && *nonRoot:
		s.UID = imageUser
		s.GID = imageUser
	}
	if group != nil {
		s.GID = uint32(*group)
	}
	if pod.FSGroup != nil {
		s.Groups = append(s.Groups, uint32(*pod.FSGroup))
	}
	for _, g := range pod.SupplementalGroups {
		s.Groups = append(s.Groups, uint32(g))
	}
	s.ReadOnlyRoot = own.ReadOnlyRootFilesystem != nil && *own.ReadOnlyRootFilesystem
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}
