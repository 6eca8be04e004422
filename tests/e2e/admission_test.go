package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// promised is what kubectl says of an example, by its own comment lines: field, value and way out.
func promised(t *testing.T, file string) (words []string) {
	t.Helper()
	manifest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(manifest)) {
		if w, ok := strings.CutPrefix(line, "# kubectl says: "); ok {
			words = append(words, strings.TrimSpace(w))
		}
	}
	if len(words) == 0 {
		t.Fatalf("%s does not tell what kubectl says of it", file)
	}
	return words
}

// examples runs a test for each manifest in a folder of manifests/examples.
func examples(t *testing.T, folder string, check func(t *testing.T, file string)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "manifests/examples", folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { check(t, file) })
	}
}

// TestRefused: what can never work is not stored, and kubectl says which field, which value, and what to do.
func TestRefused(t *testing.T) {
	examples(t, "refused", func(t *testing.T, file string) {
		out, err := kubectl("apply", "-f", file)
		if err == nil {
			t.Fatalf("it was stored: %s", out)
		}
		for _, w := range promised(t, file) {
			if !strings.Contains(out, w) {
				t.Errorf("%s\nlacks %q", out, w)
			}
		}
	})
}

// TestWarned: what may still come right is stored, and kubectl prints warnings that say what to do.
func TestWarned(t *testing.T) {
	examples(t, "warned", func(t *testing.T, file string) {
		out, err := kubectl("apply", "-f", file)
		t.Cleanup(func() { _, _ = kubectl("delete", "-f", file) }) // The cluster goes anyway.
		must(t, out, err)
		for _, w := range promised(t, file) {
			if !strings.Contains(out, "Warning: "+w) {
				t.Errorf("%s\nlacks the warning %q", out, w)
			}
		}
	})
}

// What the levels differ about: one can never work, the other may come right.
const (
	hopeless = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: hopeless}
spec:
  parentRefs: [{name: eg, namespace: default}]
  rules: [{matches: [{path: {type: RegularExpression, value: "/v(?=1)"}}]}]
`
	early = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: early}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{name: later, port: 80}]}]
`
)

// TestAdmissionLevels: a namespace's label says how strict admission is there: off looks at nothing, warn refuses
// nothing, enforce refuses what can never work, and strict refuses what is not there yet as well.
func TestAdmissionLevels(t *testing.T) {
	t.Parallel()
	const stored, warned, refused = "stored", "warned", "refused"
	for _, c := range []struct{ level, hopeless, early string }{
		{"", refused, warned},
		{"enforce", refused, warned},
		{"warn", warned, warned},
		{"off", stored, stored},
		{"strict", refused, refused},
		{"stritc", refused, warned}, // What is not a level is warned of, and the default holds.
	} {
		t.Run("level "+c.level, func(t *testing.T) {
			s := newScene(t, "level")
			if c.level != "" {
				s.kubectl(t, "label", "namespace", s.namespace, "gatehouse.dev/admission="+c.level)
			}
			// What kubectl printed, once the label is known: the control plane hears of it by a watch.
			verdict := func(manifest, want string) (printed string) {
				eventually(t, "it is "+want, func() error {
					out, err := s.tryApply(manifest)
					got := stored
					switch {
					case err != nil:
						got = refused
					case strings.Contains(out, "Warning: spec."):
						got = warned
					}
					if printed = out; got == want {
						return nil
					}
					_, _ = kubectl("delete", "httproutes", "--all", "-n", s.namespace) // It is tried again from nothing.
					return fmt.Errorf("%s: %s", got, out)
				})
				return printed
			}
			if out := verdict(hopeless, c.hopeless); c.hopeless != stored &&
				!strings.Contains(out, "spec.rules[0].matches[0].path.value") {
				t.Errorf("it names no field: %s", out)
			}
			out := verdict(early, c.early)
			if c.level == "stritc" && !strings.Contains(out,
				`gatehouse.dev/admission="stritc", which is not a level, so enforce holds: use off, warn, enforce, strict`) {
				t.Errorf("the label is not warned of: %s", out)
			}
		})
	}
}

// TestOldSinsAreNoBar: an object that was wrong before may be labelled, have its finalizers changed, be applied once
// more and be deleted; only a change that adds something wrong is refused.
func TestOldSinsAreNoBar(t *testing.T) {
	t.Parallel()
	s := newScene(t, "sins", "gatehouse.dev/admission=off")
	s.apply(t, hopeless)
	s.kubectl(t, "label", "namespace", s.namespace, "gatehouse.dev/admission-")
	eventually(t, "admission is on again", func() error {
		if out, err := s.tryApply(strings.Replace(hopeless, "name: hopeless", "name: second", 1)); err == nil {
			_, _ = kubectl("delete", "httproute", "second", "-n", s.namespace) // It is tried again.
			return fmt.Errorf("a broken route was stored: %s", out)
		}
		return nil
	})
	s.apply(t, hopeless)
	s.kubectl(t, "label", "httproute", "hopeless", "team=a")
	s.kubectl(t, "patch", "httproute", "hopeless", "--type=merge", "-p",
		`{"metadata":{"finalizers":["example.com/kept"]}}`)
	s.kubectl(t, "patch", "httproute", "hopeless", "--type=merge", "-p", `{"spec":{"hostnames":["late.example.com"]}}`)
	s.kubectl(t, "delete", "httproute", "hopeless", "--wait=false")
	s.kubectl(t, "patch", "httproute", "hopeless", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	eventually(t, "the route is gone", func() error {
		if out, err := kubectl("get", "httproutes", "-n", s.namespace, "-o", "name"); err != nil ||
			strings.Contains(out, "hopeless") {
			return fmt.Errorf("%s %w", out, err)
		}
		return nil
	})
}

// TestTargetKindMayBeLeftOut: a policy that gives no more than the name of its target is completed, and kubectl says
// what was assumed.
func TestTargetKindMayBeLeftOut(t *testing.T) {
	t.Parallel()
	s := newScene(t, "short")
	s.apply(t, plainGateway)
	const short = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: short}
spec:
  targetRefs: [{name: gw}]
  timeout: {http: {requestTimeout: 5s}}
`
	out, err := s.tryApply(short)
	if must(t, out, err); !strings.Contains(out, `spec.targetRefs[0].kind: not given for "gw", so it is Gateway`) {
		t.Errorf("it is not said what was assumed: %s", out)
	}
	s.becomes(t, "backendtrafficpolicy/short", "{.spec.targetRefs[0].group} {.spec.targetRefs[0].kind}",
		"gateway.networking.k8s.io Gateway")
	s.becomes(t, "backendtrafficpolicy/short", condition(".status.ancestors[0]", "Accepted"), "True")
}

// TestVerdictsAreForTheAPIServer: the API server, which shows its certificate, gets the verdicts that the tests above
// see. Who shows none gets nothing, not even an error that depends on what was asked.
func TestVerdictsAreForTheAPIServer(t *testing.T) {
	out, err := inside("curl", "-sk", "-X", "POST", "-H", "Content-Type: application/json", "-d", "{}", "-w",
		" %{http_code}",
		"https://gatehouse.gatehouse-system.svc:9443/validate")
	if must(t, out, err); !strings.HasPrefix(out, "no client certificate") || !strings.HasSuffix(out, " 403") {
		t.Errorf("a pod without a certificate gets %q", out)
	}
}
