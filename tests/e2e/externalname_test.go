package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestExternalNames: a Service that is only a name is no backend, and the route is told so, until the operator allows
// it. Then Envoy asks DNS for the name and sends requests to the port of the backendRef. A name that leads nowhere
// harms nothing but its own requests.
func TestExternalNames(t *testing.T) {
	s := newScene(t, "names")
	manifest, err := os.ReadFile("testdata/externalnames.yaml")
	if err != nil {
		t.Fatal(err)
	}
	routes := strings.ReplaceAll(string(manifest), "NAMESPACE", s.namespace)
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(echoServer, "b", 2), plainGateway,
		route("neighbour", "neighbour.example.com"))
	out, err := s.tryApply(routes)
	must(t, out, err)
	for _, words := range []string{
		"spec.rules[0].backendRefs[0].name: Service " + s.namespace + "/outside is of type ExternalName, which is not served",
		"extensionApis.enableExternalName",
	} {
		if !strings.Contains(out, words) {
			t.Errorf("%s\nlacks %q", out, words)
		}
	}
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET neighbour.example.com/", http.StatusOK)
	settles(t, at, "GET outside.example.com/", http.StatusInternalServerError)
	s.becomes(t, "httproute/outside", reason(".status.parents[0]", "ResolvedRefs"), "UnsupportedValue")
	s.becomes(t, "httproute/outside", condition(".status.parents[0]", "Accepted"), "True")

	t.Cleanup(func() {
		reconfigure(t, "extensionApis.enableExternalName=false")
		settles(t, at, "GET outside.example.com/", http.StatusInternalServerError)
		settles(t, at, "GET neighbour.example.com/", http.StatusOK)
	})
	end := loads(t, at, "neighbour.example.com")
	reconfigure(t, "extensionApis.enableExternalName=true")
	settles(t, at, "GET outside.example.com/", http.StatusOK)
	s.becomes(t, "httproute/outside", condition(".status.parents[0]", "ResolvedRefs"), "True")
	// Nothing is warned of.
	s.apply(t, strings.Replace(route("again", "again.example.com"), "name: a,", "name: outside,", 1))

	t.Run("what arrives", func(t *testing.T) { externalRequests(t, at) })
	t.Run("names that are not names", func(t *testing.T) {
		for _, name := range []string{"own", "number", "short"} {
			s.becomes(t, "httproute/"+name, reason(".status.parents[0]", "ResolvedRefs"), "UnsupportedValue")
			settles(t, at, "GET "+name+".example.com/server_info", http.StatusInternalServerError)
		}
	})
	t.Run("a name is whole", func(t *testing.T) {
		// In DNS the name of a Service is not completed by the domains that a pod searches.
		settles(t, at, "GET relative.example.com/", http.StatusServiceUnavailable)
	})
	t.Run("a name that does not resolve yet", func(t *testing.T) {
		settles(t, at, "GET nowhere.example.com/", http.StatusServiceUnavailable)
		s.becomes(t, "httproute/nowhere", condition(".status.parents[0]", "ResolvedRefs"), "True")
		s.apply(t, `
apiVersion: v1
kind: Service
metadata: {name: nowhere}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]}
`)
		settles(t, at, "GET nowhere.example.com/", http.StatusOK)
	})
	end()

	t.Run("moves", func(t *testing.T) {
		s.apply(t, route("moving", "moving.example.com"))
		settles(t, at, "GET moving.example.com/", http.StatusOK)
		end := loads(t, at, "moving.example.com")
		s.apply(t, strings.Replace(route("moving", "moving.example.com"), "name: a,", "name: moved,", 1))
		goesTo(t, at, "moving.example.com", "b")
		s.kubectl(t, "patch", "service", "moved", "--type=merge", "-p",
			`{"spec":{"externalName":"a.`+s.namespace+`.svc.cluster.local"}}`)
		goesTo(t, at, "moving.example.com", "a")
		end()
		// Until somebody has written an EndpointSlice, a Service of another type has no endpoint.
		s.kubectl(t, "patch", "service", "moved", "--type=merge", "-p",
			`{"spec":{"type":"ClusterIP","externalName":null,"selector":{"app":"b"},"ports":[{"name":"http","port":80,"targetPort":"web"}]}}`)
		goesTo(t, at, "moving.example.com", "b")
		s.kubectl(t, "patch", "service", "moved", "--type=merge", "-p",
			`{"spec":{"type":"ExternalName","externalName":"a.`+s.namespace+`.svc.cluster.local","selector":null,"ports":null,"clusterIP":null,"clusterIPs":null}}`)
		goesTo(t, at, "moving.example.com", "a")
	})
	t.Run("names that DNS is slow to resolve", slowNames)
	t.Run("a fresh Envoy", func(t *testing.T) {
		s.kubectl(t, "delete", "service", "nowhere") // It starts with a name that does not resolve.
		newEnvoy(t, s)
		settles(t, at, "GET neighbour.example.com/", http.StatusOK)
		settles(t, at, "GET outside.example.com/", http.StatusOK)
		settles(t, at, "GET nowhere.example.com/", http.StatusServiceUnavailable)
	})
}

// externalRequests: requests reach the port that was asked for, with the host that the client named unless the rule
// rewrites it, and all addresses that a name has.
func externalRequests(t *testing.T, at string) {
	if a := asked(t, at, "GET outside.example.com/path"); a.asked.Host != "outside.example.com" ||
		a.asked.Path != "/path" || a.app() != "a" {
		t.Errorf("it arrived for %q %q at %q", a.asked.Host, a.asked.Path, a.asked.Pod)
	}
	a := asked(t, at, "GET outside.example.com/rewritten")
	if want := "a." + a.asked.Namespace + ".svc.cluster.local"; a.code != http.StatusOK || a.asked.Host != want {
		t.Errorf("with the host rewritten it was answered %d and arrived for %q, want %q", a.code, a.asked.Host, want)
	}
	if a := asked(t, at, "GET outside.example.com/listed"); a.code != http.StatusOK || a.app() != "a" {
		t.Errorf("at a port that the Service lists it was answered %d by %q", a.code, a.asked.Pod)
	}
	if a := asked(t, at, "GET outside.example.com/unlisted"); a.code != http.StatusInternalServerError {
		t.Errorf("at a port that the Service does not list it was answered %d", a.code)
	}
	pods := map[string]bool{}
	eventually(t, "all addresses of a name get requests", func() error {
		if a := asked(t, at, "GET outside.example.com/pods"); a.app() == "b" {
			pods[a.asked.Pod] = true
		}
		if len(pods) != 2 {
			return fmt.Errorf("%v do", pods)
		}
		return nil
	})
}
