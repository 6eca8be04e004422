package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// groupServer is an echo server on a port of its own, which belongs to a group of such servers and takes its time to
// leave.
const groupServer = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s, group: %[2]s}}
    spec:
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/conformance/echo-basic:v0.1.0
        ports: [{name: web, containerPort: %[3]d}]
        readinessProbe: {httpGet: {path: /health, port: web}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 4}}}
        env:
        - {name: HTTP_PORT, value: "%[3]d"}
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
`

// writtenSlice is an EndpointSlice that nobody but the test keeps: labelled as of an owner, with one address.
const writtenSlice = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, labels: {%s}}
addressType: IPv4
ports: [{name: %q, port: %d, protocol: TCP}]
endpoints: [{addresses: [%s], conditions: {ready: true}}]
`

// podIP is the address of the only pod of an app that is there.
func (s scene) podIP(t *testing.T, app string) string {
	t.Helper()
	var ip string
	eventually(t, "the address of a pod of "+app, func() (err error) {
		if ip, err = kubectl("get", "pod", "-n", s.namespace, "-l", "app="+app, "-o",
			"jsonpath={.items[*].status.podIP}"); err == nil && ip == "" {
			err = fmt.Errorf("there is none")
		}
		return err
	})
	return ip
}

// shares asks so many times and counts what was answered: by the name of the app, or by the status if Envoy answered
// itself.
func shares(t *testing.T, at, request string, times int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range times {
		a := asked(t, at, request)
		if app := a.app(); app != "" {
			got[app]++
		} else {
			got[fmt.Sprint(a.code)]++
		}
	}
	return got
}

// TestServices: whatever a Service finds its pods by, requests go to the addresses and port numbers of its
// EndpointSlices.
func TestServices(t *testing.T) {
	t.Parallel()
	s := newScene(t, "services")
	s.apply(t, fmt.Sprintf(groupServer, "low", "both", 3000), fmt.Sprintf(groupServer, "high", "both", 4000), plainGateway)
	s.kubectl(t, "rollout", "status", "deployment/low", "--timeout=60s")
	s.kubectl(t, "rollout", "status", "deployment/high", "--timeout=60s")
	s.applyFile(t, "services.yaml")
	s.apply(t, fmt.Sprintf(writtenSlice, "written-1", "kubernetes.io/service-name: written", "", 4000, s.podIP(t, "high")))
	at := address(t, s.namespace, "gw")

	t.Run("a port by name has the number that each pod gives it", func(t *testing.T) {
		settles(t, at, "GET named.example.com/", http.StatusOK)
		eventually(t, "both pods get requests", func() error {
			if got := shares(t, at, "GET named.example.com/", 20); len(got) != 2 || got["low"]+got["high"] != 20 {
				return fmt.Errorf("%v", got)
			}
			return nil
		})
	})
	t.Run("a headless Service is sent to at its pods' port", func(t *testing.T) {
		if a := settles(t, at, "GET headless.example.com/", http.StatusOK); a.app() != "low" {
			t.Errorf("answered by %q", a.asked.Pod)
		}
	})
	t.Run("a Service without a selector has the endpoints that were written", func(t *testing.T) {
		if a := settles(t, at, "GET written.example.com/", http.StatusOK); a.app() != "high" {
			t.Errorf("answered by %q", a.asked.Pod)
		}
		s.kubectl(t, "delete", "endpointslice", "written-1")
		settles(t, at, "GET written.example.com/", http.StatusServiceUnavailable)
		s.apply(t, fmt.Sprintf(writtenSlice, "written-2", "kubernetes.io/service-name: written", "", 3000, s.podIP(t, "low")))
		if a := settles(t, at, "GET written.example.com/", http.StatusOK); a.app() != "low" {
			t.Errorf("answered by %q", a.asked.Pod)
		}
	})
	t.Run("status", func(t *testing.T) {
		for _, route := range []string{"named", "headless", "written"} {
			s.becomes(t, "httproute/"+route, condition(".status.parents[0]", "ResolvedRefs"), "True")
		}
	})
}

// TestUnusableBackends: what of a rule's requests has nowhere to go is answered 500, as Gateway API says, and nothing
// else of it. A Service that has no endpoint is not a mistake of the route: 503.
func TestUnusableBackends(t *testing.T) {
	t.Parallel()
	s := newScene(t, "unusable")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway)
	manifest, err := os.ReadFile("testdata/unusable.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.tryApply(string(manifest))
	must(t, out, err)
	for _, words := range []string{
		`spec.rules[0].backendRefs[0].name: no Service "absent" in namespace "` + s.namespace + `"`,
		`spec.rules[0].backendRefs[1].port: Service ` + s.namespace + `/a has no TCP port 81: it has ports 80`,
		`spec.rules[0].backendRefs[2].kind: "Pod" of group "" cannot be a backend`,
	} {
		if !strings.Contains(out, words) {
			t.Errorf("%s\nlacks %q", out, words)
		}
	}
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET half.example.com/whole", http.StatusOK)
	for request, code := range map[string]int{
		"GET zero.example.com/":     http.StatusInternalServerError,
		"GET invalid.example.com/":  http.StatusInternalServerError,
		"GET without.example.com/":  http.StatusInternalServerError,
		"GET deserted.example.com/": http.StatusServiceUnavailable,
	} {
		settles(t, at, request, code)
	}
	got := shares(t, at, "GET half.example.com/", 200)
	// Each request is a draw of its own: with 1 to 1, fewer than 60 or more than 140 of 200 happen less than once in
	// ten million runs.
	if got["a"] < 60 || got["500"] < 60 || got["a"]+got["500"] != 200 {
		t.Errorf("of 200 requests, half of which have nowhere to go, %v", got)
	}
	if got := shares(t, at, "GET half.example.com/unweighted", 20); got["a"] != 20 {
		t.Errorf("an unusable backend of weight 0 took requests: %v", got)
	}
	for route, why := range map[string]string{
		"zero": "ResolvedRefs", "deserted": "ResolvedRefs",
		"half": "BackendNotFound",
	} {
		s.becomes(t, "httproute/"+route, reason(".status.parents[0]", "ResolvedRefs"), why)
	}
	s.becomes(t, "httproute/invalid", condition(".status.parents[0]", "ResolvedRefs"), "False")
	s.becomes(t, "httproute/invalid", condition(".status.parents[0]", "Accepted"), "True")
}

// TestPodLeavesDuringARequest: a request that is under way when its pod is told to leave is answered by that pod,
// although the EndpointSlice says already that it is leaving; every new request goes to the others.
func TestPodLeavesDuringARequest(t *testing.T) {
	t.Parallel()
	s := newScene(t, "leaving")
	s.apply(t, fmt.Sprintf(groupServer, "old", "one", 3000), fmt.Sprintf(groupServer, "new", "one", 3000), plainGateway, `
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {group: one}, ports: [{name: http, port: 80, targetPort: web}]}
`, route("r", "leaving.example.com"))
	at := address(t, s.namespace, "gw")
	eventually(t, "both pods get requests", func() error {
		a, err := ask(at, "GET leaving.example.com/")
		if err != nil || a.code != http.StatusOK {
			return fmt.Errorf("answered %d, %w", a.code, err)
		}
		if got := shares(t, at, "GET leaving.example.com/", 20); len(got) != 2 {
			return fmt.Errorf("they went to %v", got)
		}
		return nil
	})

	type result struct {
		answer
		err error
	}
	const underWay = 8 // Enough that the leaving pod has some of them.
	slow := make(chan result, underWay)
	for range underWay {
		go func() {
			a, err := ask(at, "GET leaving.example.com/?delay=3s")
			slow <- result{a, err}
		}()
	}
	time.Sleep(200 * time.Millisecond) // The requests are with their pods.
	s.kubectl(t, "delete", "deployment", "old", "--wait=false")
	eventually(t, "new requests go to the other pod", func() error {
		if got := shares(t, at, "GET leaving.example.com/", 5); got["new"] != 5 {
			return fmt.Errorf("they went to %v", got)
		}
		return nil
	})
	terminating := s.kubectl(t, "get", "endpointslices", "-l", "kubernetes.io/service-name=a", "-o",
		`jsonpath={.items[*].endpoints[?(@.conditions.terminating==true)].targetRef.name}`)
	if !strings.HasPrefix(terminating, "old-") {
		t.Errorf("the pod that is leaving, by its EndpointSlice: %q", terminating)
	}
	meanwhile := 0
	for ; len(slow) == 0; meanwhile++ {
		if a := asked(t, at, "GET leaving.example.com/"); a.app() != "new" {
			t.Errorf("a new request went to %q, status %d", a.asked.Pod, a.code)
		}
	}
	finished := map[string]int{}
	for range underWay {
		r := <-slow
		if r.err != nil || r.code != http.StatusOK {
			t.Errorf("a request under way was answered %d by %q, %v", r.code, r.asked.Pod, r.err)
		}
		finished[r.app()]++
	}
	if finished["old"] == 0 || meanwhile == 0 {
		t.Errorf("requests under way were answered by %v, while %d new ones were sent", finished, meanwhile)
	}
	s.kubectl(t, "wait", "--for=delete", "pod", "-l", "app=old", "--timeout=30s")
	if got := shares(t, at, "GET leaving.example.com/", 20); got["new"] != 20 {
		t.Errorf("once the pod is gone, requests went to %v", got)
	}
}
