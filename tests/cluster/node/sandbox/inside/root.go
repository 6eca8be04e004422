package inside

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hidden are the directories of the machine that an image would not have content in.
var hidden = map[string]os.FileMode{
	"home": 0o755, "media": 0o755, "mnt": 0o755, "root": 0o700, "run": 0o755, "srv": 0o755, "tmp": 0o777 | os.ModeSticky,
}

// programs are the directories below which the machine's own mounts are taken into the container.
var programs = []string{"/bin", "/etc", "/lib", "/lib64", "/opt", "/sbin", "/usr"}

// buildRoot makes the container's root file system and enters it. It is called by PID 1 of a new mount namespace.
//
// The root is an overlay: the machine's root below, a memory file system above, which vanish with the namespace.
func buildRoot(s *Spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	below, err := machineMounts()
	if err != nil {
		return err
	}
	root, err := overlay(s.Dir)
	if err != nil {
		return err
	}
	for _, dir := range below {
		if err := bind(dir, root+dir, false); err != nil {
			return err
		}
	}
	if err := kernelMounts(root); err != nil {
		return err
	}
	for path, content := range s.Files {
		if err := replaceFile(root+path, content); err != nil {
			return err
		}
	}
	sources, err := openSources(s.Mounts)
	if err != nil {
		return err
	}
	if err := enter(root); err != nil {
		return err
	}
	// Targets are made only now, so that symbolic links on the way are those of the container.
	for i, m := range s.Mounts {
		err := bind(fmt.Sprintf("/proc/self/fd/%d", sources[i].Fd()), m.Target, m.ReadOnly)
		if err = errors.Join(err, sources[i].Close()); err != nil {
			return fmt.Errorf("mount %s: %w", m.Source, err)
		}
	}
	return s.finishRoot()
}

// finishRoot leaves the machine's root for good and closes the container's own to writes if it is to be.
func (s *Spec) finishRoot() error {
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the machine's root: %w", err)
	}
	if err := os.Remove(oldRoot); err != nil {
		return fmt.Errorf("leave the machine's root: %w", err)
	}
	if s.WorkingDir != "" {
		if err := os.MkdirAll(s.WorkingDir, 0o755); err != nil {
			return fmt.Errorf("make working directory: %w", err)
		}
	}
	if s.ReadOnlyRoot {
		if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make the root read-only: %w", err)
		}
	}
	return nil
}

// machineMounts lists the directories with a file system of their own that the machine's programs need.
func machineMounts() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer func() { _ = f.Close() }()
	var found []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			return nil, fmt.Errorf("list mounts: line %q has no mount point", lines.Text())
		}
		dir := fields[4]
		wanted := slices.ContainsFunc(programs, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") })
		if info, err := os.Stat(dir); wanted && err == nil && info.IsDir() && !slices.Contains(found, dir) {
			found = append(found, dir)
		}
	}
	return found, nil
}

// overlay makes the container's root below dir and returns its path.
func overlay(dir string) (string, error) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return "", fmt.Errorf("mount a memory file system on %s: %w", dir, err)
	}
	upper, work, root := filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "root")
	for _, d := range []string{upper, work, root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return "", fmt.Errorf("make container root: %w", err)
		}
	}
	for name, mode := range hidden {
		d := filepath.Join(upper, name)
		if err := errors.Join(os.Mkdir(d, mode.Perm()), os.Chmod(d, mode)); err != nil {
			return "", fmt.Errorf("make container root: %w", err)
		}
		if err := unix.Setxattr(d, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
			return "", fmt.Errorf("hide the machine's /%s: %w", name, err)
		}
	}
	options := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return "", fmt.Errorf("mount overlay on %s: %w", root, err)
	}
	return root, nil
}

// kernelMounts gives the root its own /proc and /dev and the machine's /sys.
func kernelMounts(root string) error {
	if err := unix.Mount("proc", root+"/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := bind("/sys", root+"/sys", true); err != nil {
		return err
	}
	dev := root + "/dev"
	if err := unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := bind("/dev/"+name, dev+"/"+name, false); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0",
		"stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, dev+"/"+name); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	for _, m := range []struct{ name, kind, options string }{
		{"shm", "tmpfs", "mode=1777"},
		{"pts", "devpts", "newinstance,ptmxmode=0666"},
	} {
		d := dev + "/" + m.name
		if err := os.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("make /dev/%s: %w", m.name, err)
		}
		if err := unix.Mount(m.kind, d, m.kind, unix.MS_NOSUID, m.options); err != nil {
			return fmt.Errorf("mount /dev/%s: %w", m.name, err)
		}
	}
	return nil
}

func replaceFile(path, content string) error {
	// A symbolic link would lead to a file of the machine that the container does not have.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make directory of %s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func openSources(mounts []Mount) ([]*os.File, error) {
	var sources []*os.File
	for _, m := range mounts {
		fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s to mount it on %s: %w", m.Source, m.Target, err)
		}
		sources = append(sources, os.NewFile(uintptr(fd), m.Source))
	}
	return sources, nil
}

// oldRoot is where the machine's root is while mounts are made from it.
const oldRoot = "/.machine"

func enter(root string) error {
	if err := os.Mkdir(root+oldRoot, 0o700); err != nil {
		return fmt.Errorf("enter the container's root: %w", err)
	}
	if err := unix.PivotRoot(root, root+oldRoot); err != nil {
		return fmt.Errorf("enter the container's root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("enter the container's root: %w", err)
	}
	return nil
}

// bind makes source appear at target, which is made as a file or a directory if it is not there.
func bind(source, target string, readOnly bool) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("find what to mount on %s: %w", target, err)
	}
	if err := makeTarget(target, info.IsDir()); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	if !readOnly {
		return nil
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE,
		&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("make %s read-only: %w", target, err)
	}
	return nil
}

func makeTarget(target string, dir bool) error {
	if dir {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
