package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// TestInstallation reads what the chart sets.
func TestInstallation(t *testing.T) {
	environment := map[string]string{
		"POD_NAMESPACE": "gatehouse-system", "POD_NAME": "gatehouse-0", "POD_IP": "10.0.0.1",
		"GATEHOUSE_IMAGE":       "r.example.com/gatehouse:1",
		"GATEHOUSE_PULL_POLICY": "Always", "IMAGE_PULL_SECRETS": "mirror own", "MEMORY_LIMIT": "1073741824",
	}
	got, err := readInstallation(func(name string) string { return environment[name] })
	if err != nil {
		t.Fatal(err)
	}
	want := installation{
		namespace: "gatehouse-system", pod: "gatehouse-0", address: "10.0.0.1", domain: "cluster.local",
		envoyImage: defaultEnvoyImage, rateLimitImage: defaultRateLimitImage, gatehouseImage: "r.example.com/gatehouse:1", gatehousePullPolicy: corev1.PullAlways,
		pullSecrets: []corev1.LocalObjectReference{{Name: "mirror"}, {Name: "own"}}, memory: 1 << 30,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(installation{})); diff != "" {
		t.Errorf("installation (-want +got):\n%s", diff)
	}
}
