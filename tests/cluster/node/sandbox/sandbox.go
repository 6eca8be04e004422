// Package sandbox gives pods a network namespace and containers a root file system and a process tree of their own.
//
// A container is the program itself, run again under another name, by which package inside knows that it is to be PID 1
// of new mount, PID, UTS and IPC namespaces. That init builds the container's root as an overlay on the machine's own
// root, starts the command, reaps and forwards signals, and runs further commands in the container on request. Ending
// it ends every process of the container, however they daemonised.
package sandbox

import "gatehouse/tests/cluster/node/sandbox/inside"

// Spec is a container to be started.
type Spec = inside.Spec

// Mount makes a file or directory of the machine appear in a container.
type Mount = inside.Mount
