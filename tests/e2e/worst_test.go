package e2e

import (
	"crypto/rand"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// object is a Kubernetes object, or a part of one.
type object = map[string]any

// repeated are n values.
func repeated[T any](n int, value func(i int) T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = value(i)
	}
	return all
}

// heavy is an object as large as etcd stores, with what its status, or that of what it is used by, has to say.
type heavy struct {
	object object
	// at is the object whose status is looked at, and path where in it the words are.
	at, path, words string
}

// named is an object of a kind with a spec.
func named(version, kind, name string, spec object) object {
	return object{"apiVersion": version, "kind": kind, "metadata": object{"name": name}, "spec": spec}
}

const (
	gatewayAPI  = "gateway.networking.k8s.io/v1"
	ownAPI      = "gateway.envoyproxy.io/v1alpha1"
	ofRoutes    = "{.status.parents[*].conditions[*].message}"
	ofListeners = "{.status.listeners[*].conditions[*].message}"
	ofPolicies  = "{.status.ancestors[*].conditions[*].message}"
)

// heavyRoute is a route of all listeners of Gateway web with that many hosts of its own.
func heavyRoute(kind, name string, hosts int, rules ...object) object {
	return named(gatewayAPI, kind, name, object{
		"parentRefs": []object{{"name": "web"}},
		"hostnames":  repeated(hosts, func(i int) string { return fmt.Sprintf("h%d.%s.example.com", i, name) }),
		"rules":      rules,
	})
}

// matching is a rule with matches that each have a path of their own and a number of headers with one expression.
func matching(matches, headers int, expression string) object {
	return object{
		"backendRefs": backends(1),
		"matches": repeated(matches, func(m int) object {
			match := object{"path": object{"value": fmt.Sprintf("/%d", m)}}
			if headers > 0 {
				match["headers"] = repeated(headers, func(h int) object {
					return object{"type": "RegularExpression", "name": fmt.Sprintf("x-%d", h), "value": expression}
				})
			}
			return match
		}),
	}
}

func backends(n int) []object {
	return repeated(n, func(int) object { return object{"name": "a", "port": 80} })
}

// with adds a field to an object.
func with(o object, field string, value any) object {
	o[field] = value
	return o
}

// longHeaders are filters that set headers with values as long as they may be.
func longHeaders(n int) []object {
	return []object{{"type": "RequestHeaderModifier", "requestHeaderModifier": object{
		"set": repeated(n, func(i int) object {
			return object{
				"name":  fmt.Sprintf("x-%d", i),
				"value": strings.Repeat("v", 4000),
			}
		}),
	}}}
}

// aimed is a policy on an HTTPRoute of the same name.
func aimed(kind, name string, spec object) object {
	return named(ownAPI, kind, name, with(spec, "targetRefs", []object{{
		"group": "gateway.networking.k8s.io",
		"kind":  "HTTPRoute", "name": name,
	}}))
}

// hugeKey is an RSA key in PEM of more than 400 KB, such as nobody makes: who reads it has to work with its numbers.
func hugeKey(t *testing.T) []byte {
	t.Helper()
	number := func(length int) *big.Int {
		b := make([]byte, length)
		_, _ = rand.Read(b) // Never fails.
		b[0], b[length-1] = 0xff, b[length-1]|1
		return new(big.Int).SetBytes(b)
	}
	n, p := number(80<<10), number(40<<10)
	der, err := asn1.Marshal(struct {
		Version               int
		N                     *big.Int
		E                     int
		D, P, Q, Dp, Dq, QInv *big.Int
	}{N: n, E: 65537, D: p, P: p, Q: p, Dp: p, Dq: p, QInv: p})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})
}

// worst are the most costly objects of each kind that the API server stores, and what people are told of them.
func worst(t *testing.T) []heavy {
	t.Helper()
	// If there is no room for a policy on a route, the route says so, and the policy is accepted.
	const tooMuch, accepted = "of each Envoy, where it stands for each of", "The policy is accepted."
	certificate, _ := newPair(t, 1)
	secret := object{
		"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "huge"}, "type": "kubernetes.io/tls",
		"data": object{
			"tls.crt": base64.StdEncoding.EncodeToString(certificate),
			"tls.key": base64.StdEncoding.EncodeToString(hugeKey(t)),
		},
	}
	bundle := object{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "authorities"},
		"data": object{"ca.crt": strings.Repeat("#\n", 450_000)},
	}
	plain := func(name string, hosts int) object {
		return heavyRoute("HTTPRoute", name, hosts, matching(64, 0, ""), matching(64, 0, ""))
	}
	rpc := object{"backendRefs": backends(1), "matches": repeated(8, func(i int) object {
		return object{"method": object{"service": fmt.Sprintf("shop.S%d", i)}, "headers": repeated(16, func(h int) object {
			return object{"type": "RegularExpression", "name": fmt.Sprintf("x-%d", h), "value": "(?:" +
				strings.Repeat("abcdefghij", 10) + "){70}"}
		})}
	})}
	modified := object{
		"matches": matching(64, 0, "")["matches"], "filters": longHeaders(16),
		"backendRefs": repeated(14, func(int) object {
			return object{"name": "a", "port": 80, "filters": longHeaders(16)}
		}),
	}
	return []heavy{
		{
			heavyRoute("HTTPRoute", "programs", 1, matching(64, 4, "(?:"+strings.Repeat("a", 3000)+"){1000}")),
			"httproute/programs", ofRoutes, "instructions, and 8192 are the most",
		},
		{heavyRoute("HTTPRoute", "reading", 16, matching(64, 16, "(?i)"+strings.Repeat(`[B-\x{1e943}]`, 20)),
			matching(64, 16, "(?i)"+strings.Repeat(`[B-\x{1e943}]`, 20))), "httproute/reading", ofRoutes, "steps to be read"},
		{heavyRoute("HTTPRoute", "headers", 16, modified), "httproute/headers", ofRoutes, tooMuch},
		{heavyRoute("HTTPRoute", "codes", 16, with(matching(64, 0, ""), "retry",
			object{"codes": repeated(200, func(i int) int { return 400 + i })})), "httproute/codes", ofRoutes, tooMuch},
		{
			heavyRoute("GRPCRoute", "calls", 16, repeated(16, func(int) object { return rpc })...), "grpcroute/calls", ofRoutes,
			tooMuch,
		},
		{plain("ranges", 16), "httproute/ranges", ofRoutes, tooMuch},
		{aimed("SecurityPolicy", "ranges", object{"authorization": object{"rules": repeated(64, func(r int) object {
			return object{"action": "Allow", "principal": object{"clientCIDRs": repeated(900,
				func(i int) string { return fmt.Sprintf("10.%d.%d.%d/32", r, i/250, i%250) })}}
		})}}), "securitypolicy/ranges", ofPolicies, accepted},
		{plain("origins", 16), "httproute/origins", ofRoutes, tooMuch},
		{aimed("SecurityPolicy", "origins", object{"cors": object{"allowOrigins": repeated(64, func(i int) string {
			return fmt.Sprintf("https://*.%s%d.example.com", strings.Repeat("abcdefghij.", 18), i)
		})}}), "securitypolicy/origins", ofPolicies, accepted},
		{plain("retries", 16), "httproute/retries", ofRoutes, tooMuch},
		{aimed("BackendTrafficPolicy", "retries", object{"retry": object{"retryOn": object{
			"triggers": []string{"retriable-status-codes"}, "httpStatusCodes": repeated(500, func(i int) int { return 100 + i }),
		}}}), "backendtrafficpolicy/retries", ofPolicies, accepted},
		{secret, "gateway/tls", ofListeners, "and at most 16384 are taken"},
		{named(gatewayAPI, "Gateway", "tls", object{"gatewayClassName": "eg", "listeners": []object{
			{"name": "https", "protocol": "HTTPS", "port": 443, "tls": object{"certificateRefs": []object{{"name": "huge"}}}},
		}}), "gateway/tls", ofListeners, "Secret"},
		{
			heavyRoute("HTTPRoute", "encrypted", 1, object{"backendRefs": []object{{"name": "encrypted", "port": 443}}}),
			"httproute/encrypted", ofRoutes, "BackendTLSPolicy",
		},
		{bundle, "backendtlspolicy/authorities", ofPolicies, "and at most 524288 are taken"},
		{named(gatewayAPI, "BackendTLSPolicy", "authorities", object{
			"targetRefs": []object{{"group": "", "kind": "Service", "name": "encrypted"}},
			"validation": object{"hostname": "a.example.com", "caCertificateRefs": []object{{
				"group": "", "kind": "ConfigMap",
				"name": "authorities",
			}}},
		}), "backendtlspolicy/authorities", ofPolicies, "ConfigMap"},
	}
}

// firstPort is that of the first listener of Gateway web; the others have the ports after it.
const firstPort, listeners = 20000, 64

// TestOthersAreServedBesideTheWorst: a control plane that starts beside the worst objects that the API server takes, of
// which nobody has judged any, serves other routes, tells each of them what is wrong, and stays within the memory that
// the chart gives it.
func TestOthersAreServedBesideTheWorst(t *testing.T) {
	quickstart := address(t, "default", "eg")
	scale := func(replicas string) {
		t.Helper()
		out, err := kubectl("scale", "-n", "gatehouse-system", "deployment/gatehouse", "--replicas="+replicas)
		must(t, out, err)
		out, err = kubectl("rollout", "status", "-n", "gatehouse-system", "deployment/gatehouse", "--timeout=180s")
		must(t, out, err)
	}
	scale("0")
	t.Cleanup(func() { scale("1") })
	out, err := kubectl("wait", "-n", "gatehouse-system", "pod", "-l", controlPlane, "--for=delete", "--timeout=30s")
	must(t, out, err)

	s := newScene(t, "worst", "gatehouse.dev/admission=off")
	t.Cleanup(func() { // Other tests need not live beside them.
		if out, err := kubectl("delete", "namespace", s.namespace, "--timeout=120s"); err != nil {
			t.Errorf("deleting namespace %s: %v: %s", s.namespace, err, out)
		}
	})
	web := named(gatewayAPI, "Gateway", "web", object{
		"gatewayClassName": "eg",
		"listeners": repeated(listeners, func(i int) object {
			return object{"name": fmt.Sprintf("l%d", i), "protocol": "HTTP", "port": firstPort + i}
		}),
	})
	all := []object{web, heavyRoute("HTTPRoute", "light", 1, matching(1, 0, ""))}
	stored := worst(t)
	for _, h := range stored {
		all = append(all, h.object)
	}
	s.apply(t, fmt.Sprintf(echoServer, "a", 1),
		"apiVersion: v1\nkind: Service\nmetadata: {name: encrypted}\nspec: {ports: [{port: 443}]}\n")
	for _, o := range all { // One by one, since each fills a request.
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out, err := kubectlOf(string(text), "create", "-n", s.namespace, "-f", "-")
		must(t, fmt.Sprintf("%v %d bytes: %.2000s", o["kind"], len(text), out), err)
		t.Logf("%s: %d KB", strings.TrimSpace(out), len(text)/1000)
	}

	scale("1")
	at := address(t, s.namespace, "web")
	for _, port := range []int{firstPort, firstPort + listeners - 1} {
		settles(t, fmt.Sprintf("%s:%d", at, port), "GET h0.light.example.com/0", http.StatusOK)
	}
	answers(t, quickstart, "www.example.com", "/", http.StatusOK)
	for _, h := range stored {
		eventually(t, fmt.Sprintf("%s says %q", h.at, h.words), func() error {
			out, err := kubectl("get", "-n", s.namespace, h.at, "-o", "jsonpath="+h.path)
			if err == nil && (out == "" || !strings.Contains(out, h.words)) {
				err = fmt.Errorf("it says %.1000q", out)
			}
			return err
		})
	}
	wantWithinMemory(t)
}

// wantWithinMemory compares the most memory that the control plane's process has had with the limit of its container.
// It must not have restarted: the process before would have had more.
func wantWithinMemory(t *testing.T) {
	t.Helper()
	limit, err := kubectl("get", "deployment", "-n", "gatehouse-system", "gatehouse", "-o",
		"jsonpath={.spec.template.spec.containers[0].resources.limits.memory}")
	must(t, limit, err)
	most, err := resource.ParseQuantity(strings.TrimSpace(limit))
	if err != nil {
		t.Fatalf("the limit of the control plane's memory: %v", err)
	}
	plane, _ := staying(t, controlPlane)
	restarts, err := kubectl("get", "pod", "-n", "gatehouse-system", plane, "-o",
		"jsonpath={.status.containerStatuses[0].restartCount}")
	if must(t, restarts, err); restarts != "0" {
		t.Errorf("the control plane has restarted %q times, want 0", restarts)
	}
	out, err := kubectl("exec", "-n", "gatehouse-system", plane, "--", "sh", "-c",
		`for p in /proc/[0-9]*; do if tr '\0' ' ' <$p/cmdline | grep -q '^[^ ]*gatehouse serve'; then awk '/^VmHWM:/{print $2}' $p/status; fi; done`)
	kilobytes, wrong := strconv.Atoi(strings.TrimSpace(must(t, out, err)))
	if wrong != nil {
		t.Fatalf("the control plane's memory: %v", wrong)
	}
	had := int64(kilobytes) << 10
	t.Logf("the control plane has had %d MiB of %s", had>>20, limit)
	if had >= most.Value() {
		t.Errorf("the control plane has had %d MiB of %s", had>>20, limit)
	}
}
