package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
)

// perTeam is one team's share: a namespace with ten routes, each with a Service, its EndpointSlice and policies.
const (
	routes  = 10
	perTeam = 1 + routes*5
)

const platform = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: v1
kind: Namespace
metadata: {name: platform}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: platform}
spec:
  gatewayClassName: eg
  listeners:
  - name: http
    protocol: HTTP
    port: 80
    allowedRoutes: {namespaces: {from: All}}
`

const team = `---
apiVersion: v1
kind: Namespace
metadata: {name: team-%d, labels: {team: "%[1]d"}}
`

const route = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: route-%[2]d, namespace: team-%[1]d}
spec:
  parentRefs: [{name: web, namespace: platform}]
  hostnames: [app-%[2]d.team-%[1]d.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /}}]
    timeouts: {request: %[3]s}
    backendRefs: [{name: app-%[2]d, port: 80}]
  - matches:
    - path: {type: PathPrefix, value: /api}
      headers: [{name: x-version, value: "2"}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-team, value: "%[1]d"}]}}]
    backendRefs: [{name: app-%[2]d, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: app-%[2]d, namespace: team-%[1]d}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app-%[2]d, namespace: team-%[1]d, labels: {kubernetes.io/service-name: app-%[2]d}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.%[4]d.%[5]d.1], conditions: {ready: true}}
- {addresses: [10.%[4]d.%[5]d.2], conditions: {ready: true}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: app-%[2]d, namespace: team-%[1]d}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route-%[2]d}]
  retry: {numRetries: 2, retryOn: {httpStatusCodes: [503], triggers: [retriable-status-codes]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: app-%[2]d, namespace: team-%[1]d}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: route-%[2]d}]
  authorization:
    defaultAction: Deny
    rules: [{name: inside, action: Allow, principal: {clientCIDRs: [10.0.0.0/8]}}]
`

// write writes a folder with about that many objects, a file for each team, and returns its size in bytes. Every tenth
// route has the timeout.
func write(dir string, objects int, timeout string) (size int64, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "platform.yaml"), []byte(platform), 0o600); err != nil {
		return 0, err
	}
	for t := range max(objects/perTeam, 1) {
		file, err := os.Create(filepath.Join(dir, fmt.Sprintf("team-%d.yaml", t)))
		if err != nil {
			return 0, err
		}
		to := bufio.NewWriter(file)
		fmt.Fprintf(to, team, t)
		for r := range routes {
			limit := "3s"
			if r == 0 {
				limit = timeout
			}
			n := t*routes + r
			fmt.Fprintf(to, route, t, r, limit, n/250%250, n%250)
		}
		if err := to.Flush(); err != nil {
			return 0, err
		}
		info, err := file.Stat()
		if err != nil {
			return 0, err
		}
		size += info.Size()
		if err := file.Close(); err != nil {
			return 0, err
		}
	}
	return size, nil
}
