package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// redisPod is a Redis that keeps nothing when it ends.
const redisPod = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: redis}
spec:
  selector: {matchLabels: {app: redis}}
  template:
    metadata: {labels: {app: redis}}
    spec:
      containers:
      - name: redis
        image: docker.io/library/redis:7
        args: [--protected-mode, "no", --save, "", --appendonly, "no"]
        ports: [{name: redis, containerPort: 6379}]
        readinessProbe: {tcpSocket: {port: redis}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: redis}
spec: {selector: {app: redis}, ports: [{name: redis, port: 6379}]}
`

// countedRoutes have limits that all Envoys count together. The authorization server of one of them says what a request
// costs, and how many a client has.
const countedRoutes = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: counted}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: counted}]
  rateLimit:
    global:
      rules:
      - clientSelectors: [{headers: [{name: x-user, type: Distinct}]}]
        limit: {requests: 3, unit: Year}
      - clientSelectors: [{headers: [{name: x-none, value: "1"}]}]
        limit: {requests: 0, unit: Year}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: judged}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: judged}]
  extAuth: {grpc: {backendRefs: [{name: auth, port: 9000}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: judged}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: judged}]
  rateLimit:
    global:
      rules:
      - clientSelectors: [{headers: [{name: x-costly, value: "1"}]}]
        limit: {requests: 5, unit: Year}
        cost: {request: {from: Metadata, metadata: {namespace: envoy.filters.http.ext_authz, key: cost}}}
      - clientSelectors: [{headers: [{name: x-planned, value: "1"}]}]
        limit: {requests: 100, unit: Year, fromMetadata: {namespace: envoy.filters.http.ext_authz, key: limit}}
      - clientSelectors: [{headers: [{name: x-late, value: "1"}]}]
        limit: {requests: 1, unit: Year}
        cost:
          request: {from: Number, number: 0}
          response: {from: Metadata, metadata: {namespace: envoy.filters.http.ext_authz, key: cost}}
`

// TestGlobalRateLimits: with rateLimit in its configuration the control plane runs the rate limit service, and two Envoys
// count with it as one. An authorization server decides on costs and limits. While Redis is gone, requests that are counted
// are served, or with failClosed not, and others are served in any case. Without rateLimit the service goes.
func TestGlobalRateLimits(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skipf("there is no Redis: install it by tests/tools/redis.sh: %v", err)
	}
	s := newScene(t, "limits")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), inPod(t, "auth", authorizer, "1", authPorts), authService, redisPod,
		fmt.Sprintf(customFleet, "envoyDeployment: {replicas: 2}"), route("counted", "counted.example.com"),
		route("judged", "judged.example.com"), route("free", "free.example.com"))
	s.kubectl(t, "rollout", "status", "deployment/redis", "--timeout=60s")
	t.Cleanup(func() { serviceGoes(t) })
	reconfigure(t, limitSettings(s)...)
	s.apply(t, countedRoutes)
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET counted.example.com/", http.StatusTooManyRequests, "X-None", "1")
	countsAsOne(t, s)
	judgesLimits(t, at)

	s.kubectl(t, "scale", "deployment/redis", "--replicas=0")
	settles(t, at, "GET counted.example.com/", http.StatusOK, "X-None", "1")
	reconfigure(t, "rateLimit.failClosed=true")
	settles(t, at, "GET counted.example.com/", http.StatusInternalServerError, "X-None", "1")
	for _, other := range []string{"free", "counted"} {
		if a := asked(t, at, "GET "+other+".example.com/"); a.code != http.StatusOK {
			t.Errorf("a request to %s that nobody counts is answered %d", other, a.code)
		}
	}
	s.kubectl(t, "scale", "deployment/redis", "--replicas=1")
	settles(t, at, "GET counted.example.com/", http.StatusTooManyRequests, "X-None", "1")
	settles(t, at, "GET counted.example.com/", http.StatusOK, "X-User", "ada")
}

// limitSettings are settings for limits that are counted in the Redis of a scene. The machine of a test may be slow.
func limitSettings(s scene) []string {
	return []string{
		"rateLimit.backend.type=Redis", "rateLimit.backend.redis.url=redis." + s.namespace + ".svc:6379", "rateLimit.timeout=1s",
	}
}

// countsAsOne asks each Envoy of the scene in turn.
func countsAsOne(t *testing.T, s scene) {
	t.Helper()
	out, err := kubectl(append([]string{"get", "pods", "-o", "jsonpath={.items[*].status.podIP}"}, fleetOf(s)...)...)
	envoys := strings.Fields(must(t, out, err))
	if len(envoys) != 2 {
		t.Fatalf("the Envoys are %q", out)
	}
	code := func(envoy, header string) string {
		t.Helper()
		out, err := inside("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", "-H",
			"Host: counted.example.com", "-H", header, "http://"+envoy+":10080/")
		return must(t, out, err)
	}
	for _, envoy := range envoys {
		eventually(t, "the Envoy at "+envoy+" asks the service", func() error {
			if got := code(envoy, "X-None: 1"); got != "429" {
				return fmt.Errorf("it answers %s", got)
			}
			return nil
		})
	}
	for user, want := range map[string]string{"ada": "200 200 200 429 429", "grace": "200 200 200 429 429"} {
		var got []string
		for i := range 5 {
			got = append(got, code(envoys[i%2], "X-User: "+user))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("two Envoys answer %s in turn %s, want %s", user, got, want)
		}
	}
}

// judgesLimits asks for what the authorization server decides about: a cost of 2, and a limit of 2.
func judgesLimits(t *testing.T, at string) {
	t.Helper()
	joe := []string{"Authorization", asJoe}
	settles(t, at, "GET judged.example.com/", http.StatusOK, joe...)
	for header, want := range map[string]string{"X-Costly": "200 200 429", "X-Planned": "200 200 429"} {
		var got []string
		for range 3 {
			a := asked(t, at, "GET judged.example.com/", append(joe, header, "1")...)
			got = append(got, fmt.Sprint(a.code))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("requests with %s are answered %s, want %s", header, got, want)
		}
	}
	settles(t, at, "GET judged.example.com/", http.StatusTooManyRequests, append(joe, "X-Late", "1")...)
	if a := asked(t, at, "GET judged.example.com/", "X-Costly", "1"); a.code != http.StatusUnauthorized {
		t.Errorf("somebody who is not let in is answered %d", a.code)
	}
}

// serviceGoes takes rateLimit out of the configuration again, and waits until the service is gone.
func serviceGoes(t *testing.T) {
	t.Helper()
	reconfigure(t, "rateLimit=null")
	eventually(t, "the rate limit service is gone", func() error {
		out, err := kubectl("get", "deployments,services,serviceaccounts,pods", "-n", "gatehouse-system", "-o", "name", "-l",
			"app.kubernetes.io/name=ratelimit")
		if err == nil && strings.TrimSpace(out) != "" {
			err = errors.New(out)
		}
		return err
	})
}
