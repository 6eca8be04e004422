package infra

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"gatehouse/infra/bootstrap"
	"gatehouse/infra/envoytest"
	"gatehouse/policies/envoyproxy"
)

// TestEnvoyAcceptsItsArguments starts a real Envoy with the arguments of every golden, up to the point where it would
// serve.
func TestEnvoyAcceptsItsArguments(t *testing.T) {
	envoy := envoytest.Binary(t)
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			req, settings := golden(t, archive)
			objects, err := Desired(req, settings)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			files, err := bootstrap.Files(bootstrap.Settings{ConfigDir: dir, TokenFile: filepath.Join(dir, "token")}, nil)
			if err != nil {
				t.Fatal(err)
			}
			files["token"] = "a token"
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			expand := strings.NewReplacer(configDir, dir, "$("+envoyproxy.EnvPodName+")", "web-1", "$("+envoyproxy.EnvZone+")",
				"", "$("+envoyproxy.EnvInjectedZone+")", "zone-a",
				"$("+envoyproxy.EnvMemoryLimit+")", "1073741824")
			args := []string{"--mode", "validate", "--use-dynamic-base-id"}
			for _, o := range objects {
				for _, arg := range envoyOf(o) {
					args = append(args, expand.Replace(arg))
				}
			}
			if out, err := exec.CommandContext(t.Context(), envoy, args...).CombinedOutput(); err != nil {
				t.Errorf("Envoy refuses its arguments: %v\n%s", err, out)
			}
		})
	}
}

// envoyOf are the arguments of Envoy, if the object runs it.
func envoyOf(o any) []string {
	var containers []corev1.Container
	switch w := o.(type) {
	case *appsv1.Deployment:
		containers = w.Spec.Template.Spec.Containers
	case *appsv1.DaemonSet:
		containers = w.Spec.Template.Spec.Containers
	}
	for _, c := range containers {
		if c.Name == envoyproxy.EnvoyContainer {
			return c.Args
		}
	}
	return nil
}
