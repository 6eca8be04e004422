package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// task is an example of docs/tasks.md.
type task struct {
	title string
	// before are commands that come before the manifest. It may be empty.
	before, manifest string
	requests         []taskRequest
}

// taskRequest is one call of curl there, with the commands before it that nothing is said of.
type taskRequest struct {
	script string
	// code is the status, empty if the connection is closed without an answer.
	code string
	// name and value are a header of the response or its body, or if seen is set, what the backend sees of the request.
	// A value that ends in three dots is the beginning.
	name, value string
	seen        bool
}

var (
	taskParts  = regexp.MustCompile("(?s)^(.*?)\n(?:.*?```sh\n(.*?)```\n)?.*?```yaml\n(.*?)```\n+```sh\n(.*?)```\n*$")
	taskResult = regexp.MustCompile(`^(?:.* \| )?curl -i .* # (?:(\d{3})(?:, (the backend sees )?([A-Za-z-]+): (.*))?|no answer)$`)
)

// readTasks reads docs/tasks.md. A section that it does not understand fails the test.
func readTasks(t *testing.T) (tasks []task) {
	t.Helper()
	text, err := os.ReadFile("../../docs/tasks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		parts := taskParts.FindStringSubmatch(section)
		if parts == nil {
			t.Fatalf("no example: %s", section)
		}
		next, script := task{title: parts[1], before: parts[2], manifest: parts[3]}, ""
		for line := range strings.Lines(parts[4]) {
			script += line
			result := taskResult.FindStringSubmatch(strings.TrimSpace(line))
			if result == nil && strings.Contains(line, " # ") {
				t.Fatalf("%s: not a request with its result: %s", next.title, line)
			}
			if result != nil {
				next.requests = append(next.requests, taskRequest{
					script: script, code: result[1], seen: result[2] != "", name: result[3], value: result[4],
				})
				script = ""
			}
		}
		tasks = append(tasks, next)
	}
	return tasks
}

// TestTasks applies each example of docs/tasks.md and runs its commands.
func TestTasks(t *testing.T) {
	tasks := readTasks(t)
	s := newScene(t, "tasks")
	s.apply(t, strings.ReplaceAll(fmt.Sprintf(echoServer, "backend", 1), "port: 80,", "port: 3000,"),
		strings.Replace(plainGateway, "name: gw", "name: eg", 1))
	_, noRedis := exec.LookPath("redis-server")
	settings, back := []string{"extensionApis.enableBackend=true"}, []string{"extensionApis.enableBackend=false"}
	if noRedis == nil {
		s.apply(t, redisPod)
		s.kubectl(t, "rollout", "status", "deployment/redis", "--timeout=60s")
		settings = append(settings, limitSettings(s)...)
		back = append(back, "rateLimit=null")
	}
	t.Cleanup(func() { reconfigure(t, back...) })
	reconfigure(t, settings...)
	shell := taskShell{namespace: s.namespace, gateway: address(t, s.namespace, "eg"), dir: t.TempDir()}
	for _, task := range tasks {
		t.Run(task.title, func(t *testing.T) {
			if noRedis != nil && strings.Contains(task.manifest, "global:") {
				t.Skipf("there is no Redis: install it by tests/tools/redis.sh: %v", noRedis)
			}
			out, err := shell.run(task.before)
			must(t, out, err)
			s.apply(t, shell.here(task.manifest))
			for _, r := range task.requests {
				eventually(t, r.script, func() error { return shell.answers(r) })
			}
		})
	}
}

// taskShell runs commands of docs/tasks.md in a folder, as somebody whose objects are in a namespace.
type taskShell struct{ namespace, gateway, dir string }

// here puts the namespace in the place of that of docs/tasks.md.
func (s taskShell) here(text string) string {
	return strings.ReplaceAll(text, ".default.svc.", "."+s.namespace+".svc.")
}

func (s taskShell) run(script string) (string, error) {
	cmd := exec.Command("bash", "-c", fmt.Sprintf("kubectl() { %s -n %s \"$@\"; }\n", filepath.Join(bin, "kubectl"), s.namespace)+
		s.here(script))
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "GATEWAY="+s.gateway, "KUBECONFIG="+filepath.Join(dir, "kubeconfig"))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said.String())
	}
	return string(out), err
}

// answers sends the request. It returns an error if something else comes back.
func (s taskShell) answers(r taskRequest) error {
	out, err := s.run(r.script)
	if r.code == "" {
		if err == nil {
			return fmt.Errorf("answered %.200s", out)
		}
		return nil
	}
	if err != nil {
		return err
	}
	head, body, _ := strings.Cut(out, "\r\n\r\n")
	status, headers, _ := strings.Cut(head, "\r\n")
	if code := strings.Fields(status + " - -")[1]; code != r.code {
		return fmt.Errorf("answered %s: %.200s", code, body)
	}
	got := body
	if r.name != "body" {
		fields, err := textproto.NewReader(bufio.NewReader(strings.NewReader(headers + "\r\n\r\n"))).ReadMIMEHeader()
		if err != nil {
			return err
		}
		got = fields.Get(r.name)
	}
	if r.seen {
		if got, err = seenByBackend(r.name, body); err != nil {
			return err
		}
	}
	if got = strings.TrimSpace(got); r.name == "" || got == r.value {
		return nil
	}
	if begin, open := strings.CutSuffix(r.value, "..."); open && strings.HasPrefix(got, begin) {
		return nil
	}
	return fmt.Errorf("%s is %q, want %q", r.name, got, r.value)
}

// seenByBackend is a header, the path or the host of a request, as the echo server tells of it.
func seenByBackend(name, body string) (string, error) {
	var sees struct {
		Path, Host string
		Headers    http.Header
	}
	if err := json.Unmarshal([]byte(body), &sees); err != nil {
		return "", fmt.Errorf("%.200s: %w", body, err)
	}
	switch name {
	case "Path":
		return sees.Path, nil
	case "Host":
		return sees.Host, nil
	}
	return sees.Headers.Get(name), nil
}
