// Command cluster runs a local Kubernetes on this machine without containers: a real etcd, kube-apiserver and
// kube-controller-manager and a node agent, all in network, process and mount namespaces of their own.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"gatehouse/tests/cluster/node"
)

// init keeps the first thread for main alone. It is the one that /proc/PID/ns shows, by which exec finds the cluster's
// network; a goroutine that went to the host's namespace on it would send there what is meant for the cluster.
func init() { runtime.LockOSThread() }

func main() {
	node.InitIfPod() // The node agent starts pods as this program.
	if err := command().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var dir string
	root := &cobra.Command{
		Use:   "cluster",
		Short: "Run a local Kubernetes without containers",
		Long: `Runs a local Kubernetes on this machine: a real etcd, kube-apiserver and kube-controller-manager, and a node
agent that runs each pod as processes in namespaces of its own. Needs Linux and root, and leaves nothing behind.

The API server and every load balancer are reachable from an ordinary shell on loopback addresses. All state is in
one directory; clusters in different directories run side by side.`,
		Example: `  cluster up
  export KUBECONFIG=$PWD/.cluster/kubeconfig
  kubectl apply -f manifests/quickstart.yaml
  cluster status                               # where each LoadBalancer is reached
  cluster exec -- curl http://10.98.0.1/
  cluster logs -n default backend-5d9c -f
  cluster down`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			absolute, err := filepath.Abs(dir)
			if err != nil {
				return fmt.Errorf("resolving --dir %s: %w", dir, err)
			}
			dir = absolute
			return nil
		},
	}
	root.PersistentFlags().StringVar(&dir, "dir", ".cluster", "the cluster's directory")
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(upCommand(&dir), downCommand(&dir), statusCommand(&dir), execCommand(&dir), logsCommand(&dir),
		superviseCommand(&dir))
	return root
}
