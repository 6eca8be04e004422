package shutdown

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gatehouse/infra/bootstrap"
)

// admin is Envoy's admin interface.
type admin struct {
	address string
}

// answerTime is the time limit for Envoy's answer.
const answerTime = 5 * time.Second

func (a admin) post(ctx context.Context, path string) error {
	body, err := a.ask(ctx, http.MethodPost, path)
	if err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return fmt.Errorf("reading the answer to %s: %w", path, err)
	}
	return nil
}

// ask returns the body of a response with status 200.
func (a admin) ask(ctx context.Context, method, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+path, nil)
	if err != nil {
		return nil, fmt.Errorf("making the request for %s: %w", path, err)
	}
	client := http.Client{Timeout: answerTime}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking Envoy's admin interface: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("asking Envoy's admin interface: %s answers %s", path, response.Status)
	}
	return response.Body, nil
}

// connections counts the open connections of clients. It uses the gauges of the listeners, because the server's total
// is up to five seconds old and includes the connections of probes.
func (a admin) connections(ctx context.Context) (int, error) {
	body, err := a.ask(ctx, http.MethodGet, `/stats?filter=^listener\..*\.downstream_cx_active$`)
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }()
	return count(body)
}

// worker matches the gauges of single workers, which the gauge of their listener includes.
var worker = regexp.MustCompile(`\.worker_\d+\.downstream_cx_active$`)

// count adds up the gauges of Envoy's text format, one "name: value" per line.
func count(stats io.Reader) (int, error) {
	total := 0
	lines := bufio.NewScanner(stats)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), ": ")
		if !ok {
			return 0, fmt.Errorf("reading the statistics: %q is not of the form name: value", lines.Text())
		}
		listener := strings.TrimPrefix(name, "listener.")
		if strings.HasPrefix(listener, bootstrap.OwnListenerPrefix) || strings.HasPrefix(listener, "admin.") ||
			worker.MatchString(name) {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("reading the statistics: %s: %w", name, err)
		}
		total += n
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("reading the statistics: %w", err)
	}
	return total, nil
}
