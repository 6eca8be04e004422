package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// release is a version of Gatehouse: its image, and the folder of its charts.
type release struct{ image, charts string }

// install puts a version in the place of another, as a user does: CRDs first, then helm upgrade, which waits until it is there.
func (r release) install(t *testing.T) {
	t.Helper()
	crds, err := helm("template", filepath.Join(r.charts, "gatehouse-crds"))
	must(t, crds, err)
	out, err := kubectlOf(crds, "apply", "--server-side", "--force-conflicts", "-f", "-")
	must(t, out, err)
	out, err = helm("upgrade", "gatehouse", filepath.Join(r.charts, "gatehouse"), "--namespace=gatehouse-system", "--reset-then-reuse-values",
		"--set=deployment.replicas=2,global.images.gatehouse.image="+r.image, "--wait", "--timeout=120s",
		"--force-conflicts") // Other tests scale it by kubectl.
	must(t, out, err)
	lives(t) // Until those that leave have gone.
}

func helm(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(bin, "helm"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestUpgradeUnderLoad: the version before this one takes over from this one by helm upgrade, and this one takes over again. Meanwhile no request
// fails, no stream breaks, no object is refused; and an Envoy that still runs by the other version's bootstrap is served.
func TestUpgradeUnderLoad(t *testing.T) {
	previous := release{"gatehouse:previous", filepath.Join(bin, "previous/manifests")}
	current := release{"gatehouse:dev", filepath.Join(root, "manifests")}
	if _, err := os.Stat(previous.charts); err != nil {
		t.Skipf("the version before this one is not built: %v; tests/release/previous.sh builds it where git has its history", err)
	}
	s, stays := newScene(t, "upgrade"), newScene(t, "stays")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(customFleet, "envoyDeployment: {replicas: 2}"), route("r", "upgrade.example.com"))
	stays.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("r", "stays.example.com"))
	at, kept := address(t, s.namespace, "gw"), address(t, stays.namespace, "gw")
	settles(t, at, "GET upgrade.example.com/", http.StatusOK)
	settles(t, kept, "GET stays.example.com/", http.StatusOK)
	// The fleet that stays is not replaced, so its Envoys meet control planes of both versions.
	out, err := kubectl(append([]string{"patch", "deployment", "-p", `{"spec":{"paused":true}}`, namesOf(t, stays, "deployment")}, "-n", "gatehouse-system")...)
	must(t, out, err)
	pods := namesOf(t, stays, "pod")
	t.Cleanup(func() {
		current.install(t)
		out, err := kubectl("scale", "-n", "gatehouse-system", "deployment/gatehouse", "--replicas=1")
		must(t, out, err)
	})

	end, endKept, admitted, stream := loads(t, at, "upgrade.example.com"), loads(t, kept, "stays.example.com"), admits(t, s), openStream(t, kept, "stays.example.com")
	for i, version := range []release{previous, current} {
		version.install(t)
		host := fmt.Sprintf("after%d.example.com", i)
		for scene, at := range map[scene]string{s: at, stays: kept} {
			scene.apply(t, route(fmt.Sprintf("after%d", i), host))
			settles(t, at, "GET "+host+"/", http.StatusOK)
		}
		stream()
	}
	if now := namesOf(t, stays, "pod"); now != pods {
		t.Errorf("the Envoys that were to stay are %s, and were %s", now, pods)
	}
	admitted()
	endKept()
	end()
}

// namesOf are the names of what makes up the fleet of a scene.
func namesOf(t *testing.T, s scene, what string) string {
	t.Helper()
	out, err := kubectl(append([]string{"get", what, "-o", "jsonpath={.items[*].metadata.name}"}, fleetOf(s)...)...)
	return strings.TrimSpace(must(t, out, err))
}

// admits asks for good objects to be admitted and for broken ones to be refused, again and again. The end fails the test if one was not.
func admits(t *testing.T, s scene) (end func()) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	halt := sync.OnceFunc(func() {
		close(stop)
		<-done
	})
	t.Cleanup(halt) // A test that fails does not come to its end.
	asked := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			asked++
			if out, err := kubectlOf(route("good", "good.example.com"), "create", "--dry-run=server", "-n", s.namespace, "-f", "-"); err != nil {
				t.Errorf("%s: a good route is refused: %s", time.Now().Format(time.TimeOnly), out)
			}
		}
	}()
	return func() {
		t.Helper()
		halt()
		if asked < 10 {
			t.Errorf("only %d objects were asked about", asked)
		}
		t.Logf("%d objects admitted", asked)
	}
}

// openStream opens a websocket to an echo server. Each call of what it answers with sends words and fails the test if they do not come back.
func openStream(t *testing.T, at, host string) (echo func()) {
	t.Helper()
	config, err := websocket.NewConfig("ws://"+host+"/ws", "http://"+host)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", at+":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ws, err := websocket.NewClient(config, conn)
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	return func() {
		t.Helper()
		said++
		words := fmt.Sprintf("words %d", said)
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		back := make([]byte, len(words))
		if _, err := io.WriteString(ws, words); err != nil {
			t.Fatalf("the stream is broken: %v", err)
		}
		if _, err := io.ReadFull(ws, back); err != nil || string(back) != words {
			t.Fatalf("the stream is broken: %q: %v", back, err)
		}
	}
}
