package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// upstreamDNS is the variable of the environment that makes this program a name server in a pod, and the server that it
// asks in turn.
const upstreamDNS = "GATEHOUSE_E2E_DNS"

// serveDNS asks another server, but leaves names that begin with silent unanswered, and those that begin with slow for
// a while.
func serveDNS(upstream string) error {
	return dns.ListenAndServe(":53", "udp", dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		name := query.Question[0].Name
		if strings.HasPrefix(name, "silent") {
			return
		}
		if strings.HasPrefix(name, "slow") {
			time.Sleep(300 * time.Millisecond)
		}
		answer, err := dns.Exchange(query, upstream)
		if err != nil {
			answer = new(dns.Msg).SetRcode(query, dns.RcodeServerFailure)
		}
		_ = w.WriteMsg(answer) // A client that has gone needs no answer.
	}))
}

// slowServices are that of serveDNS, and the names that it is asked for.
const slowServices = `
apiVersion: v1
kind: Service
metadata: {name: dns}
spec: {selector: {app: dns}, ports: [{port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: slow-a}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: slow-b}
spec: {selector: {app: b}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: silent}
spec: {type: ExternalName, externalName: silent.example.com}
`

// slowNames: a name that DNS is slow to resolve is not used until it is resolved, and one that it never answers for
// holds up nothing: neither other changes nor an Envoy that starts.
func slowNames(t *testing.T) {
	s := newScene(t, "slow")
	server, err := kubectl("exec", "-n", "gatehouse-system", "deployment/gatehouse", "--", "cat", "/etc/resolv.conf")
	must(t, server, err)
	_, rest, _ := strings.Cut(server, "nameserver ")
	server, _, _ = strings.Cut(rest, "\n")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(echoServer, "b", 1),
		inPod(t, "dns", upstreamDNS, server+":53", ""), slowServices)
	s.kubectl(t, "rollout", "status", "deployment/dns", "--timeout=60s")
	ip := s.kubectl(t, "get", "service", "dns", "-o", "jsonpath={.spec.clusterIP}")
	name := func(to string) {
		s.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: moved}
spec: {type: ExternalName, externalName: %s.%s.svc.cluster.local}
`, to, s.namespace))
	}
	name("slow-a")
	to := func(name, backend string) string {
		return strings.Replace(route(name, name+".example.com"), "name: a,", "name: "+backend+",", 1)
	}
	s.apply(t, fmt.Sprintf(customFleet,
		fmt.Sprintf(`envoyDeployment: {patch: {value: {spec: {template: {spec: {dnsPolicy: None, dnsConfig: {nameservers: [%s]}}}}}}}`, ip)), to("moving", "a"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET moving.example.com/", http.StatusOK)

	end := loads(t, at, "moving.example.com")
	name("slow-b")
	s.apply(t, to("moving", "moved"))
	goesTo(t, at, "moving.example.com", "b")
	name("slow-a")
	goesTo(t, at, "moving.example.com", "a")
	end()

	s.apply(t, to("neighbour", "b"))
	settles(t, at, "GET neighbour.example.com/", http.StatusOK)
	// starts is how long a fresh Envoy takes until it serves.
	starts := func() time.Duration {
		t.Helper()
		begun := time.Now()
		newEnvoy(t, s)
		settles(t, at, "GET neighbour.example.com/", http.StatusOK)
		return time.Since(begun)
	}
	without := starts()
	s.apply(t, to("silent", "silent"), to("beside", "a"))
	settles(t, at, "GET beside.example.com/", http.StatusOK)
	settles(t, at, "GET silent.example.com/", http.StatusServiceUnavailable)
	// An Envoy that waits for DNS takes ten seconds and more.
	if with := starts(); with > 8*without {
		t.Errorf("a fresh Envoy took %s to serve, and beside a name without an answer %s", without, with)
	}
	settles(t, at, "GET moving.example.com/", http.StatusOK)
}
