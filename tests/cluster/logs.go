package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func logsCommand(dir *string) *cobra.Command {
	var namespace string
	var tail int64
	var o corev1.PodLogOptions
	command := &cobra.Command{
		Use:   "logs POD",
		Short: "Print the log of a pod",
		Example: `  cluster logs backend-5d9c
  cluster logs -n gatehouse-system gatehouse-7f4b --tail 20 -f`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if tail >= 0 {
				o.TailLines = &tail
			}
			ctx, stop := signal.NotifyContext(command.Context(), os.Interrupt)
			defer stop()
			return logs(ctx, layout{dir: *dir}, namespace+"/"+args[0], &o)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&namespace, "namespace", "n", "default", "the pod's namespace")
	flags.StringVarP(&o.Container, "container", "c", "", "the container, where a pod has several")
	flags.BoolVarP(&o.Follow, "follow", "f", false, "go on until the container ends")
	flags.BoolVarP(&o.Previous, "previous", "p", false, "the log of the container's last run")
	flags.Int64Var(&tail, "tail", -1, "print that many last lines only")
	return command
}

func logs(ctx context.Context, l layout, pod string, o *corev1.PodLogOptions) error {
	if _, err := running(l); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig())
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	namespace, name, _ := strings.Cut(pod, "/")
	stream, err := client.CoreV1().Pods(namespace).GetLogs(name, o).Stream(ctx)
	if err != nil {
		return fmt.Errorf("getting the log of pod %s: %w", pod, err)
	}
	defer stream.Close()
	if _, err := io.Copy(os.Stdout, stream); err != nil && ctx.Err() == nil {
		return fmt.Errorf("reading the log of pod %s: %w", pod, err)
	}
	return nil
}
