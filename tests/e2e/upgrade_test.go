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

// install puts a version in the place of another, as a user does: CRDs first, then helm upgrade, which waits until it
// is there.
func (r release) install(t *testing.T) {
	t.Helper()
	crds, err := helm("template", filepath.Join(r.charts, "gatehouse-crds"))
	must(t, crds, err)
	out, err := kubectlOf(crds, "apply", "--server-side", "--force-conflicts", "-f", "-")
	must(t, out, err)
	out, err = helm("upgrade", "gatehouse", filepath.Join(r.charts, "gatehouse"), "--namespace=gatehouse-system",
		"--reset-then-reuse-values",
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

// TestUpgradeUnderLoad: the version before this one takes over from this one by helm upgrade, and this one takes over
// again. Meanwhile no request fails, good objects are admitted, a broken one is refused, and a stream through an Envoy
// that is not replaced goes on. Each version serves an Envoy that still runs by the other's bootstrap.
func TestUpgradeUnderLoad(t *testing.T) {
	previous := release{"gatehouse:previous", filepath.Join(bin, "previous/charts")}
	current := release{"gatehouse:dev", filepath.Join(root, "manifests")}
	if _, err := os.Stat(previous.charts); err != nil {
		t.Skipf("the version before this one is not built: %v; tests/release/previous.sh builds it where git has its history",
			err)
	}
	s := newScene(t, "upgrade")
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), fmt.Sprintf(customFleet, "envoyDeployment: {replicas: 2}"),
		route("r", "upgrade.example.com"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET upgrade.example.com/", http.StatusOK)
	fleets := []fleet{{scene: s, at: at}, keep(t, "ofcurrent")}
	t.Cleanup(func() {
		current.install(t)
		out, err := kubectl("scale", "-n", "gatehouse-system", "deployment/gatehouse", "--replicas=1")
		must(t, out, err)
	})

	ends := []func(){admits(t, s), loads(t, at, "upgrade.example.com"), loads(t, fleets[1].at, "ofcurrent.example.com")}
	stream := openStream(t, fleets[1].at, "ofcurrent.example.com")
	for i, version := range []release{previous, current} {
		version.install(t)
		host := fmt.Sprintf("after%d.example.com", i)
		for _, f := range fleets {
			f.apply(t, route(fmt.Sprintf("after%d", i), host))
			settles(t, f.at, "GET "+host+"/", http.StatusOK)
		}
		stream()
		if i == 0 {
			fleets = append(fleets, keep(t, "ofprevious"))
			ends = append(ends, loads(t, fleets[2].at, "ofprevious.example.com"))
		}
	}
	for _, f := range fleets[1:] {
		if now := namesOf(t, f.scene, "pod"); now != f.pods {
			t.Errorf("the Envoys that were to stay are %s, and were %s", now, f.pods)
		}
	}
	for _, end := range ends {
		end()
	}
}

// fleet is that of a scene's Gateway: its address, and the names of its pods where they are to stay.
type fleet struct {
	scene
	at, pods string
}

// keep makes a fleet whose Envoys are not replaced, so that they run by the bootstrap of the version that is there now,
// whatever follows.
func keep(t *testing.T, name string) fleet {
	t.Helper()
	s := newScene(t, name)
	s.apply(t, fmt.Sprintf(echoServer, "a", 1), plainGateway, route("r", name+".example.com"))
	at := address(t, s.namespace, "gw")
	settles(t, at, "GET "+name+".example.com/", http.StatusOK)
	out, err := kubectl("patch", "deployment", "-p", `{"spec":{"paused":true}}`, namesOf(t, s, "deployment"), "-n",
		"gatehouse-system")
	must(t, out, err)
	return fleet{s, at, namesOf(t, s, "pod")}
}

// namesOf are the names of what makes up the fleet of a scene.
func namesOf(t *testing.T, s scene, what string) string {
	t.Helper()
	out, err := kubectl(append([]string{"get", what, "-o", "jsonpath={.items[*].metadata.name}"}, fleetOf(s)...)...)
	return strings.TrimSpace(must(t, out, err))
}

// admits asks for a good object to be admitted and for a broken one to be refused with its reason, again and again. The
// end fails the test if one answer was another.
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
			if out, err := kubectlOf(route("good", "good.example.com"), "create", "--dry-run=server", "-n", s.namespace, "-f",
				"-"); err != nil {
				t.Errorf("%s: a good route is refused: %s", time.Now().Format(time.TimeOnly), out)
			}
			if out, err := kubectlOf(brokenRoute, "create", "--dry-run=server", "-f", "-"); err == nil ||
				!strings.Contains(out, "regular expression") {
				t.Errorf("%s: a broken route is not refused for its expression: %v: %s", time.Now().Format(time.TimeOnly), err, out)
			}
		}
	}()
	return func() {
		t.Helper()
		halt()
		if asked < 10 {
			t.Errorf("only %d pairs of objects were asked about", asked)
		}
		t.Logf("%d pairs of objects asked about", asked)
	}
}

// openStream opens a websocket to an echo server. Each call of what it answers with sends words and fails the test if
// they do not come back.
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
