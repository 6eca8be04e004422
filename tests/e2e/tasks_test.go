package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// task is an example of docs/tasks.md.
type task struct {
	title, manifest string
	requests        []taskRequest
}

// taskRequest is one call of curl there.
type taskRequest struct {
	line, path, host string
	headers          [][2]string
	code             int
	// name and value are a header of the response or its body, or if seen is set, what the backend sees of the request.
	name, value string
	seen        bool
}

var (
	taskParts   = regexp.MustCompile("(?s)^(.*?)\n.*?```yaml\n(.*?)```\n+```sh\n(.*?)```")
	taskCall    = regexp.MustCompile(`^curl -i (.*) "http://\$GATEWAY(/.*)" # (\d{3})(?:, (the backend sees )?([A-Za-z-]+): (.*))?$`)
	taskHeaders = regexp.MustCompile(`-H '([^:']+): ([^']*)'`)
)

// readTasks reads docs/tasks.md. A line that it does not understand fails the test.
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
		next := task{title: parts[1], manifest: parts[2]}
		for line := range strings.Lines(parts[3]) {
			call := taskCall.FindStringSubmatch(strings.TrimSpace(line))
			if call == nil {
				t.Fatalf("%s: not a request with its result: %s", next.title, line)
			}
			code, _ := strconv.Atoi(call[3]) // Digits, as the expression says.
			r := taskRequest{line: call[0], path: call[2], code: code, seen: call[4] != "", name: call[5], value: call[6]}
			for _, header := range taskHeaders.FindAllStringSubmatch(call[1], -1) {
				if header[1] == "Host" {
					r.host = header[2]
				} else {
					r.headers = append(r.headers, [2]string{header[1], header[2]})
				}
			}
			next.requests = append(next.requests, r)
		}
		tasks = append(tasks, next)
	}
	return tasks
}

// TestTasks applies each example of docs/tasks.md and sends its requests.
func TestTasks(t *testing.T) {
	tasks := readTasks(t)
	s := newScene(t, "tasks")
	s.apply(t, strings.ReplaceAll(fmt.Sprintf(echoServer, "backend", 1), "port: 80,", "port: 3000,"),
		strings.Replace(plainGateway, "name: gw", "name: eg", 1))
	t.Cleanup(func() { reconfigure(t, "extensionApis.enableBackend=false") })
	reconfigure(t, "extensionApis.enableBackend=true")
	at := address(t, s.namespace, "eg")
	for _, task := range tasks {
		t.Run(task.title, func(t *testing.T) {
			s.apply(t, strings.ReplaceAll(task.manifest, "backend.default.", "backend."+s.namespace+"."))
			for _, r := range task.requests {
				eventually(t, r.line, func() error { return r.ask(at) })
			}
		})
	}
}

// ask sends the request. It returns an error if something else comes back.
func (r taskRequest) ask(at string) error {
	path := strings.ReplaceAll(r.path, "$RANDOM", strconv.Itoa(rand.IntN(1e9)))
	request, err := http.NewRequest(http.MethodGet, "http://"+at+path, nil)
	if err != nil {
		return err
	}
	request.Host = r.host
	for _, header := range r.headers {
		request.Header.Set(header[0], header[1])
	}
	response, err := direct.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != r.code {
		return fmt.Errorf("answered %d: %.200s", response.StatusCode, body)
	}
	got := response.Header.Get(r.name)
	if r.name == "body" {
		got = strings.TrimSpace(string(body))
	}
	if r.seen {
		var sees struct {
			Path, Host string
			Headers    http.Header
		}
		if err := json.Unmarshal(body, &sees); err != nil {
			return fmt.Errorf("%.200s: %w", body, err)
		}
		switch r.name {
		case "Path":
			got = sees.Path
		case "Host":
			got = sees.Host
		default:
			got = sees.Headers.Get(r.name)
		}
	}
	if r.name != "" && got != r.value {
		return fmt.Errorf("%s is %q, want %q", r.name, got, r.value)
	}
	return nil
}
