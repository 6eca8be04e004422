// Package inside is the part of a sandbox that runs inside of it, as PID 1 of a container.
//
// It depends on next to nothing and does its work when it is initialised: a program that imports it need not
// initialise its other packages to become a container, which for the Kubernetes libraries would take a container some
// 15 ms and 25 MB.
package inside

import "strings"

// Spec is a container to be started.
type Spec struct {
	// Dir is an existing, empty directory of the machine over which the container's root is built.
	Dir string `json:"dir"`
	// Hostname is what the container's processes see as the machine's name.
	Hostname string `json:"hostname"`
	// Command is the program and its arguments. A program without a slash is looked up in the PATH of Env.
	Command []string `json:"command"`
	// Env holds NAME=value entries. PATH and HOME have defaults.
	Env []string `json:"env"`
	// WorkingDir is where the command starts; empty means the root. It is created when it is not there.
	WorkingDir string `json:"workingDir,omitempty"`
	// Files are written into the container's root before it starts, keyed by absolute path.
	Files map[string]string `json:"files,omitempty"`
	// Mounts are made in order on top of the root.
	Mounts []Mount `json:"mounts,omitempty"`
	// ReadOnlyRoot leaves only mounts writable.
	ReadOnlyRoot bool `json:"readOnlyRoot,omitempty"`
	// UID, GID and Groups are what the command runs as. Capabilities are not restricted for user 0.
	UID    uint32   `json:"uid,omitempty"`
	GID    uint32   `json:"gid,omitempty"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Mount makes a file or directory of the machine appear in a container.
type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// defaultPath is the search path of a container that sets none, as container images have it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environ returns the environment with the entries that every container has.
func (s *Spec) environ() []string {
	env := s.Env
	for _, d := range []struct{ name, value string }{{"PATH", defaultPath}, {"HOME", "/root"}, {"HOSTNAME", s.Hostname}} {
		if lookup(env, d.name) == "" {
			env = append(env, d.name+"="+d.value)
		}
	}
	return env
}

// lookup returns the value of the last entry for name, which is the one that counts.
func lookup(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// Request is what the agent sends to a container's init after the Spec.
type Request struct {
	ID int `json:"id"`
	// Command is a program to run beside the container's own. With the message come its three standard streams.
	Command []string `json:"command,omitempty"`
	// Terminal makes the first stream, a terminal, the one that controls the program.
	Terminal bool `json:"terminal,omitempty"`
	// Cancel asks that the command of this ID be killed.
	Cancel bool `json:"cancel,omitempty"`
}

// Reply is what a container's init answers: with ID 0 to the Spec, else to the request of that ID.
type Reply struct {
	ID    int    `json:"id"`
	Error string `json:"error,omitempty"`
	Exit  int    `json:"exit,omitempty"`
}
