package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// condition reports whether something is reached; an error is as good as no.
type condition func(context.Context) bool

// awaitStep asks until the condition holds. The one who waits for the cluster sets the time limit, not this.
func awaitStep(ctx context.Context, reached condition) error {
	for !reached(ctx) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx) // The cluster goes down while it comes up.
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func apiServerReady(client kubernetes.Interface) condition {
	return func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil && string(body) == "ok"
	}
}

// namespaceReady holds when pods can be created in namespace default.
func namespaceReady(client kubernetes.Interface) condition {
	return func(ctx context.Context) bool {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if err != nil {
			return false
		}
		_, err = client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil
	}
}

func nodeReady(client kubernetes.Interface) condition {
	return func(ctx context.Context) bool {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false
		}
		for _, node := range nodes.Items {
			for _, c := range node.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
					return true
				}
			}
		}
		return false
	}
}
