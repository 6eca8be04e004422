package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// connectedEnvoy in the environment makes this program watch whether the Envoy with that address is connected to the control
// plane (watchConnection).
const connectedEnvoy = "GATEHOUSE_E2E_CONNECTED_ENVOY"

// longestBackoff is the longest time that Envoy waits before it connects to the control plane again, by its bootstrap.
const longestBackoff = 5 * time.Second

// watchConnection asks Envoy 50 times a second whether it is connected, until the standard input ends. It prints a line for
// each time in which it was not: how long.
func watchConnection(address string) error {
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	var since time.Time
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Millisecond):
		}
		connected, err := connectedState(address)
		switch now := time.Now(); {
		case err != nil:
			return err
		case !connected && since.IsZero():
			since = now
		case connected && !since.IsZero():
			fmt.Println(now.Sub(since).Round(time.Millisecond))
			since = time.Time{}
		}
	}
}

// connectedState is the gauge of Envoy.
func connectedState(address string) (bool, error) {
	response, err := http.Get("http://" + address + ":19001/stats/prometheus?filter=" + `^control_plane\.connected_state$`)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && strings.HasPrefix(name, "envoy_control_plane_connected_state") {
			return value == "1", nil
		}
	}
	return false, errors.New("Envoy does not say whether it is connected")
}

// watchesConnection watches the connection of a scene's Envoy. The end answers with the times in which there was none, the
// shortest first.
func (s scene) watchesConnection(t *testing.T) (end func() []time.Duration) {
	t.Helper()
	program, err := os.Executable()
	must(t, "", err)
	ips, err := kubectl(append([]string{"get", "pods", "-o", "jsonpath={.items[*].status.podIP}"}, fleetOf(s)...)...)
	must(t, ips, err)
	watch := exec.Command(filepath.Join(bin, "cluster"), "--dir", dir, "exec", "--", "env",
		connectedEnvoy+"="+strings.Fields(ips)[0], program)
	var out, words strings.Builder
	watch.Stdout, watch.Stderr = &out, &words
	stop, err := watch.StdinPipe()
	must(t, "", err)
	must(t, "", watch.Start())
	return func() (times []time.Duration) {
		t.Helper()
		must(t, "", stop.Close())
		must(t, words.String(), watch.Wait())
		for line := range strings.Lines(out.String()) {
			without, err := time.ParseDuration(strings.TrimSpace(line))
			must(t, line, err)
			times = append(times, without)
		}
		slices.Sort(times)
		return times
	}
}

// reconnectsInTime ends a watch during which a number of replicas have ended, one after the other.
func reconnectsInTime(t *testing.T, end func() []time.Duration, replicas int) {
	t.Helper()
	times := end()
	if len(times) == 0 {
		t.Logf("%d replicas ended, to none of which the Envoy was connected", replicas)
		return
	}
	longest := times[len(times)-1]
	t.Logf("%d replicas ended; the Envoy was disconnected %d times, for %v at the median and %v at most, with a back-off of up to %v",
		replicas, len(times), times[len(times)/2], longest, longestBackoff)
	if longest > longestBackoff {
		t.Errorf("the Envoy was disconnected for %v, longer than its back-off", longest)
	}
	if len(times) > replicas {
		t.Errorf("the Envoy was disconnected %d times, but only %d replicas ended", len(times), replicas)
	}
}
