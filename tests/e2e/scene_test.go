package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// scene is a namespace of a test's own; it goes with the test.
type scene struct{ namespace string }

// echoServer is what scenes send traffic to: it answers with what it was asked, and by which pod.
const echoServer = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/conformance/echo-basic:v0.1.0
        ports: [{name: web, containerPort: 3000}]
        readinessProbe: {httpGet: {path: /health, port: web}, periodSeconds: 1}
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {selector: {app: %[1]s}, ports: [{name: http, port: 80, targetPort: web}]}
`

// inPod is a Deployment that runs this program, which a variable of its environment makes a server, with the ports and
// probes of its container. Secrets are mounted at their names.
func inPod(t *testing.T, name, variable, value, container string, secrets ...string) string {
	t.Helper()
	volumes, mounts := "", ""
	for _, secret := range secrets {
		volumes += fmt.Sprintf(", {name: %[1]s, secret: {secretName: %[1]s}}", secret)
		mounts += fmt.Sprintf(", {name: %[1]s, mountPath: /%[1]s}", secret)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      volumes: [{name: program, hostPath: {path: %[2]s}}%[7]s]
      containers:
      - name: %[1]s
        image: registry.k8s.io/gateway-api/conformance/echo-basic:v0.1.0
        command: [/program/%[3]s]
        env: [{name: %[4]s, value: %[5]q}]
        volumeMounts: [{name: program, mountPath: /program}%[8]s]
%[6]s`, name, filepath.Dir(program), filepath.Base(program), variable, value, container,
		volumes, mounts)
}

// plainGateway has one HTTP listener on port 80.
const plainGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: eg
  listeners: [{name: http, protocol: HTTP, port: 80}]
`

// newScene makes a namespace whose name begins with the given word, with labels such as gatehouse.dev/admission=off.
func newScene(t *testing.T, name string, labels ...string) scene {
	t.Helper()
	s := scene{fmt.Sprintf("%s-%d", name, time.Now().UnixNano()%1e6)}
	out, err := kubectl("create", "namespace", s.namespace)
	must(t, out, err)
	t.Cleanup(func() { _, _ = kubectl("delete", "namespace", s.namespace, "--wait=false") }) // The cluster goes anyway.
	if len(labels) > 0 {
		s.kubectl(t, append([]string{"label", "namespace", s.namespace}, labels...)...)
	}
	return s
}

// tryApply stores objects of the scene's namespace and answers with what kubectl printed.
func (s scene) tryApply(manifest string) (string, error) {
	return apply(manifest, "-n", s.namespace)
}

// apply stores objects that nothing is wrong with: a warning fails the test too.
func (s scene) apply(t *testing.T, manifests ...string) {
	t.Helper()
	out, err := s.tryApply(strings.Join(manifests, "\n---\n"))
	if must(t, out, err); strings.Contains(out, "Warning") {
		t.Errorf("a warning nobody deserved: %s", out)
	}
}

// applyFile is apply with a file of testdata.
func (s scene) applyFile(t *testing.T, name string) {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	s.apply(t, string(manifest))
}

// kubectl runs in the scene's namespace and must succeed.
func (s scene) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := kubectl(append([]string{"-n", s.namespace}, args...)...)
	return must(t, out, err)
}

// becomes waits until a field of an object, by JSON path, has a value.
func (s scene) becomes(t *testing.T, object, path, want string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s of %s is %q", path, object, want), func() error {
		out, err := kubectl("get", "-n", s.namespace, object, "-o", "jsonpath="+path)
		if err == nil && strings.TrimSpace(out) != want {
			err = fmt.Errorf("it is %q", out)
		}
		return err
	})
}

// condition is the JSON path of a status of a condition, below a path such as .status or .status.parents[0].
func condition(below, kind string) string {
	return fmt.Sprintf("{%s.conditions[?(@.type==%q)].status}", below, kind)
}

// reason is the JSON path of a reason of a condition.
func reason(below, kind string) string {
	return fmt.Sprintf("{%s.conditions[?(@.type==%q)].reason}", below, kind)
}

// message is the JSON path of a message of a condition.
func message(below, kind string) string {
	return fmt.Sprintf("{%s.conditions[?(@.type==%q)].message}", below, kind)
}

// answer is what came back: of Envoy itself, or of an echo server, which says what it was asked.
type answer struct {
	code   int
	header http.Header
	asked  struct {
		Path, Host, Method string
		Headers            http.Header
		Namespace, Pod     string
	}
}

// app is the echo server that answered, by the name of its Deployment; empty if Envoy answered itself.
func (a answer) app() string {
	parts := strings.Split(a.asked.Pod, "-")
	return strings.Join(parts[:max(0, len(parts)-2)], "-")
}

// direct neither follows redirects nor waits long.
var direct = &http.Client{
	Timeout:       5 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// ask sends a request, "GET host/path" or another method, with headers given as name, value, name, value.
func ask(at, request string, headers ...string) (answer, error) {
	method, target, _ := strings.Cut(request, " ")
	host, path, _ := strings.Cut(target, "/")
	var a answer
	r, err := http.NewRequest(method, "http://"+at+"/"+path, nil)
	if err != nil {
		return a, err
	}
	r.Host = host
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, _, err = answered(r)
	return a, err
}

// answered sends a request and answers with what came back, its body too.
func answered(r *http.Request) (a answer, body string, err error) {
	response, err := direct.Do(r)
	if err != nil {
		return a, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return a, "", err
	}
	a.code, a.header = response.StatusCode, response.Header
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		err = json.Unmarshal(text, &a.asked)
	}
	return a, string(text), err
}

// asked is ask that must be answered.
func asked(t *testing.T, at, request string, headers ...string) answer {
	t.Helper()
	a, err := ask(at, request, headers...)
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	return a
}

// goesTo waits until all requests for a host are answered by an app.
func goesTo(t *testing.T, at, host, app string) {
	t.Helper()
	eventually(t, fmt.Sprintf("requests for %s go to %s", host, app), func() error {
		if got := shares(t, at, "GET "+host+"/", 5); got[app] != 5 {
			return fmt.Errorf("they go to %v", got)
		}
		return nil
	})
}

// settles waits until a request is answered with a status, and gives that answer.
func settles(t *testing.T, at, request string, code int, headers ...string) answer {
	t.Helper()
	var a answer
	eventually(t, fmt.Sprintf("%s %v is answered %d", request, headers, code), func() (err error) {
		if a, err = ask(at, request, headers...); err == nil && a.code != code {
			err = fmt.Errorf("answered %d by %q", a.code, a.asked.Pod)
		}
		return err
	})
	return a
}
