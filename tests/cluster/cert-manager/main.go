// Command cert-manager is the program in all images of cert-manager in the local Kubernetes: its controller, its
// webhook, its cainjector and the server that answers HTTP-01 challenges, made of the packages of cert-manager's module.
// The modules of its own commands are not published. The name by which the program is started says which one it is.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	logf "github.com/cert-manager/cert-manager/pkg/logs"
)

// programs are what runs in each image, until the context ends.
var programs = map[string]func(ctx context.Context, args []string) error{
	"cert-manager-controller": runController,
	"cert-manager-webhook":    runWebhook,
	"cert-manager-cainjector": runInjector,
	"cert-manager-acmesolver": runSolver,
}

func main() {
	name := filepath.Base(os.Args[0])
	run, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "started as %s: the names of this program are %v\n", name, slices.Sorted(maps.Keys(programs)))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(klog.Background())
	if err := run(logf.NewContext(ctx, klog.Background()), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
