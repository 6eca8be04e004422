package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// reconfigure upgrades the release with a setting of the configuration file, as a user does, and waits until the
// control plane runs with it.
func reconfigure(t *testing.T, settings ...string) {
	t.Helper()
	upgrade := exec.Command(filepath.Join(bin, "helm"), "upgrade", "gatehouse", filepath.Join(root, "manifests/gatehouse"),
		"--namespace", "gatehouse-system", "--reset-then-reuse-values", "--wait", "--timeout", "60s")
	for _, setting := range settings {
		upgrade.Args = append(upgrade.Args, "--set", "config.envoyGateway."+setting)
	}
	upgrade.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"))
	out, err := upgrade.CombinedOutput()
	must(t, string(out), err)
}

// deployMode has fleets in another namespace.
func deployMode(t *testing.T, mode string) {
	t.Helper()
	reconfigure(t, "provider.kubernetes.deploy.type="+mode)
}

// fleetObjects lists the objects of the scene's Gateway in a namespace.
func fleetObjects(s scene, gateway, namespace string) (string, error) {
	out, err := kubectl("get", "deployments,services,serviceaccounts,configmaps", "-n", namespace, "-o", "name", "-l",
		"gateway.envoyproxy.io/owning-gateway-namespace="+s.namespace+",gateway.envoyproxy.io/owning-gateway-name="+gateway)
	return strings.Join(strings.Fields(out), " "), err
}

// has waits until the objects of the scene's Gateway in a namespace are these.
func (s scene) has(t *testing.T, gateway, namespace, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the fleet of Gateway %s in %s", gateway, namespace), func() error {
		got, err := fleetObjects(s, gateway, namespace)
		if err == nil && got != want {
			err = fmt.Errorf("it has %q, want %q", got, want)
		}
		return err
	})
}

// TestFleetsBesideTheirGateways: after a change of the deploy mode the fleet of each Gateway is in the Gateway's
// namespace and has its name, and nothing of it is left where it was. It is repaired there, goes with its Gateway, and
// takes no name that is another's.
func TestFleetsBesideTheirGateways(t *testing.T) {
	s := newScene(t, "beside")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("r", "beside.example.com"))
	serves := func() {
		t.Helper()
		eventually(t, "the Gateway serves at the address that it has by then", func() error {
			a, err := ask(address(t, s.namespace, "gw"), "GET beside.example.com/")
			if err == nil && a.code != http.StatusOK {
				err = fmt.Errorf("answered %d", a.code)
			}
			return err
		})
	}
	serves()

	t.Cleanup(func() {
		deployMode(t, "ControllerNamespace")
		// The control plane may not touch other namespaces any more, as docs/operations.md tells.
		out, err := kubectl("delete", "deployments,services,serviceaccounts,configmaps", "-A", "-l",
			"app.kubernetes.io/managed-by=envoy-gateway,gateway.networking.k8s.io/gateway-name")
		must(t, out, err)
		s.becomes(t, "gateway/gw", condition(".status", "Programmed"), "True")
	})
	deployMode(t, "GatewayNamespace")
	s.has(t, "gw", "gatehouse-system", "")
	whole := "deployment.apps/gw service/gw serviceaccount/gw configmap/gw"
	s.has(t, "gw", s.namespace, whole)
	serves()
	s.becomes(t, "gateway/gw", message(".status", "Programmed"), "1/1 envoy replicas available")
	if pods := s.kubectl(t, "get", "pods", "-l", "gateway.networking.k8s.io/gateway-name=gw", "-o",
		"name"); !strings.HasPrefix(pods, "pod/gw-") {
		t.Errorf("pods with the label of the Gateway: %q", pods)
	}

	s.kubectl(t, "delete", "service", "gw")
	s.has(t, "gw", s.namespace, whole)
	serves()

	s.apply(t, strings.Replace(plainGateway, "name: gw", "name: a", 1))
	s.becomes(t, "gateway/a", reason(".status", "Programmed"), "NoResources")
	if why := s.kubectl(t, "get", "gateway", "a", "-o", "jsonpath="+message(".status",
		"Programmed")); !strings.Contains(why, "Service "+s.namespace+"/a exists") {
		t.Errorf("Gateway a, whose name a Service has: %s", why)
	}
	serves() // The Service still leads to its pods.

	s.kubectl(t, "delete", "gateway", "gw", "a")
	s.has(t, "gw", s.namespace, "")
	s.has(t, "a", s.namespace, "")
	s.kubectl(t, "get", "service/a", "deployment/a")
	s.apply(t, plainGateway)
}
