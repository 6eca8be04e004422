package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// sharedGateway takes ListenerSets of its namespace.
const sharedGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  allowedListeners: {namespaces: {from: Same}}
  listeners: [{name: http, protocol: HTTP, port: 80, hostname: gateway.example.com}]
`

// listenerSet has listeners as given, in YAML's flow style.
func listenerSet(name, listeners string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: %s}
spec:
  parentRef: {name: gw}
  listeners: [%s]
`, name, listeners)
}

func toSet(name string) string { return "{kind: ListenerSet, name: " + name + "}" }

// TestManyListenerSets: a Gateway has as many listeners as its ListenerSets bring, beyond the 64 that it can name
// itself, HTTP and HTTPS with a certificate each. One that comes, goes or is wrong does not concern the others.
func TestManyListenerSets(t *testing.T) {
	t.Parallel()
	const count = 70
	s := newScene(t, "sets", "gatehouse.dev/admission=off") // A ListenerSet that names an absent Secret gets in unwarned.
	manifests := []string{
		fmt.Sprintf(echoServer, "a", 1), sharedGateway,
		marked("gateway", "{name: gw}", "rules:\n  - matches: [{path: {value: /}}]"),
	}
	for i := range int64(count) {
		name := fmt.Sprintf("set%d", i)
		certificate, key := newPair(t, 100+i)
		manifests = append(manifests,
			strings.Replace(secret(name, certificate, key), ", namespace: default", "", 1),
			listenerSet(name, fmt.Sprintf(`{name: http, protocol: HTTP, port: 80, hostname: %s.example.com},
    {name: https, protocol: HTTPS, port: 443, hostname: %[1]s.example.com, tls: {certificateRefs: [{name: %[1]s}]}}`, name)),
			marked(name, toSet(name), "rules:\n  - matches: [{path: {value: /}}]"))
	}
	s.apply(t, manifests...)
	at := address(t, s.namespace, "gw")
	for i := range int64(count) {
		host := fmt.Sprintf("set%d.example.com", i)
		settles(t, at, "GET "+host+"/", http.StatusOK)
		takenBy(t, at, "GET "+host+"/", fmt.Sprintf("set%d", i))
		serves(t, at, host, 100+i)
	}
	takenBy(t, at, "GET gateway.example.com/", "gateway")
	s.becomes(t, "gateway/gw", "{.status.attachedListenerSets}", fmt.Sprint(count))
	for i := range count {
		set := fmt.Sprintf("listenerset/set%d", i)
		s.becomes(t, set, condition(".status", "Programmed")+"{.status.listeners[*].attachedRoutes}", "True1 1")
	}

	envoys := func() string {
		pods, err := kubectl(append([]string{"get", "pods", "-o", "name"}, fleetOf(s)...)...)
		return must(t, pods, err)
	}
	before := envoys()
	stop := load(at, "set1.example.com")
	s.kubectl(t, "delete", "listenerset", "set0")
	settles(t, at, "GET set0.example.com/", http.StatusNotFound)
	serves(t, at, "set0.example.com", 0)
	s.apply(t, listenerSet("broken",
		"{name: https, protocol: HTTPS, port: 443, hostname: broken.example.com, tls: {certificateRefs: [{name: absent}]}}"))
	s.becomes(t, "listenerset/broken", reason(".status.listeners[0]", "ResolvedRefs"), "InvalidCertificateRef")
	s.apply(t, listenerSet("late",
		"{name: http, protocol: HTTP, port: 80, hostname: late.example.com}, {name: own, protocol: HTTP, port: 8080}"),
		marked("late", toSet("late"), "rules:\n  - matches: [{path: {value: /}}]"))
	settles(t, at, "GET late.example.com/", http.StatusOK)
	settles(t, at+":8080", "GET whatever.example.com/", http.StatusOK) // A port that the Gateway itself does not have.
	serves(t, at, fmt.Sprintf("set%d.example.com", count-1), 100+count-1)
	noneFailed(t, stop)
	s.becomes(t, "gateway/gw", "{.status.attachedListenerSets}", fmt.Sprint(count-1+2))
	if after := envoys(); after != before {
		t.Errorf("the Envoys were replaced: %s by %s", before, after)
	}
}

// TestListenersConflict: who has a hostname or the protocol of a port stays the same whatever happens to the others:
// the Gateway, then the oldest ListenerSet. The loser is warned when it is applied, says so in its status, and is
// served as soon as the winner is gone.
func TestListenersConflict(t *testing.T) {
	t.Parallel()
	s := newScene(t, "conflict")
	const any = "rules:\n  - matches: [{path: {value: /}}]"
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), sharedGateway, marked("gateway", "{name: gw}", any),
		listenerSet("z-older", "{name: host, protocol: HTTP, port: 80, hostname: disputed.example.com}, {name: port, protocol: HTTP, port: 8080}"),
		marked("z-older", toSet("z-older"), any))
	time.Sleep(1100 * time.Millisecond) // Ages are counted in seconds.
	younger := listenerSet("a-younger", `{name: host, protocol: HTTP, port: 80, hostname: disputed.example.com}, {name: port, protocol: TCP, port: 8080},
    {name: gateways, protocol: HTTP, port: 80, hostname: gateway.example.com}, {name: free, protocol: HTTP, port: 80, hostname: free.example.com}`)
	out, err := s.tryApply(younger)
	must(t, out, err)
	for _, field := range []string{"spec.listeners[0]", "spec.listeners[1]", "spec.listeners[2]"} {
		if !strings.Contains(out, "Warning: "+field) {
			t.Errorf("the conflict of %s is not warned of: %s", field, out)
		}
	}
	s.apply(t, marked("a-younger", toSet("a-younger"), any))
	at := address(t, s.namespace, "gw")
	winners := func(disputed string) {
		t.Helper()
		settles(t, at, "GET free.example.com/", http.StatusOK)
		settles(t, at, "GET disputed.example.com/", http.StatusOK)
		takenBy(t, at, "GET free.example.com/", "a-younger")
		takenBy(t, at, "GET disputed.example.com/", disputed)
		takenBy(t, at, "GET gateway.example.com/", "gateway")
	}
	winners("z-older")
	settles(t, at+":8080", "GET port.example.com/", http.StatusOK)
	for i, want := range []string{"HostnameConflict", "ProtocolConflict", "HostnameConflict"} {
		s.becomes(t, "listenerset/a-younger", reason(fmt.Sprintf(".status.listeners[%d]", i), "Conflicted"), want)
	}
	s.becomes(t, "listenerset/a-younger",
		`{.status.listeners[?(@.name=="free")].conditions[?(@.type=="Programmed")].status}`, "True")
	s.becomes(t, "listenerset/z-older", condition(".status.listeners[0]", "Programmed")+condition(".status.listeners[1]",
		"Programmed"), "TrueTrue")

	s.kubectl(t, "annotate", "listenerset", "a-younger", "touched=again") // Whoever was written last wins nothing by it.
	s.kubectl(t, "delete", "httproute", "a-younger")
	settles(t, at, "GET free.example.com/", http.StatusNotFound)
	takenBy(t, at, "GET disputed.example.com/", "z-older")
	s.apply(t, marked("a-younger", toSet("a-younger"), any))
	winners("z-older")

	s.kubectl(t, "delete", "listenerset", "z-older")
	fallsTo(t, at, "GET disputed.example.com/", "a-younger")
	s.becomes(t, "listenerset/a-younger", condition(".status.listeners[0]", "Programmed")+condition(".status.listeners[1]",
		"Programmed"), "TrueTrue")
	s.becomes(t, "listenerset/a-younger", reason(".status.listeners[2]", "Conflicted"), "HostnameConflict")
}
