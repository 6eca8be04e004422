package kubetest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// interruptible is set in the environment of the test binary that is interrupted.
const interruptible = "GATEHOUSE_TEST_INTERRUPTIBLE"

var server Server

func TestMain(m *testing.M) {
	if os.Getenv(interruptible) != "" {
		Run(m, &server)
	}
	os.Exit(m.Run())
}

// TestInterrupt: interrupted tests leave no running API server.
func TestInterrupt(t *testing.T) {
	if os.Getenv(interruptible) != "" {
		fmt.Println("serves", server.Config(t).Host)
		select {}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInterrupt$")
	cmd.Env = append(os.Environ(), interruptible+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	at, serves := strings.CutPrefix(strings.TrimSpace(line), "serves ")
	if !serves { // It ends by itself where there is no bin/kube-apiserver.
		t.Skipf("no server: %q: %v, %v", line, err, cmd.Wait())
	}
	at = strings.Trim(strings.TrimPrefix(at, "https:"), "/")
	if conn, err := net.Dial("tcp", at); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("tests that were interrupted succeeded")
	}
	if conn, err := net.Dial("tcp", at); err == nil {
		_ = conn.Close()
		t.Errorf("%s still answers", at)
	}
}
