package offline

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/api/crdtest"
	"gatehouse/controller/kube"
	"gatehouse/policies/rules"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// TestManyFilesAreJudgedInOrder: a folder is judged on all CPUs as on one, with the same findings in the same order; also
// if an object is there twice, in files that different workers take.
func TestManyFilesAreJudgedInOrder(t *testing.T) {
	crds, err := crdtest.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	tables := translator.NewTables(translator.Settings{ControllerName: "gateway.envoyproxy.io/gatewayclass-controller"}, engine)
	const route = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%d, namespace: shop}
spec:
  parentRefs: [{name: eg}]
  hostnames: ["%s.example.com"]
  rules: [{%s}]
`
	for _, twice := range []bool{false, true} {
		folder := t.TempDir()
		for file := range 4 {
			var text strings.Builder
			for i := range share + 10 {
				host, rule := fmt.Sprintf("h%d", i), "timeouts: {request: 1s}"
				switch i % 9 {
				case 0:
					host = "*"
				case 1:
					rule = "timeouts: {request: soon}"
				case 2:
					rule = "timeout: {request: 1s}"
				}
				fmt.Fprintf(&text, route, 1000*file+i, host, rule)
			}
			if twice && file%3 == 0 {
				fmt.Fprintf(&text, route, 99_999, "twice", "")
			}
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("f%d.yaml", file)), []byte(text.String()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		judge := func(cpus int) *Review {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cpus))
			r, err := Files(Options{
				CRDs: crds, Scheme: kube.NewScheme(), World: translator.NewWorld(tables), Rules: []string{"no-wildcard-hosts"},
				Namespace: "default", Level: webhook.LevelEnforce,
			}, []string{folder}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		one, four := judge(1), judge(4)
		if diff := cmp.Diff(one.Findings, four.Findings); diff != "" {
			t.Errorf("twice %t: (-one CPU +four):\n%s", twice, diff)
		}
		if diff := cmp.Diff(one.Judged, four.Judged); diff != "" {
			t.Errorf("twice %t: judged (-one CPU +four):\n%s", twice, diff)
		}
		found := 0
		for _, f := range four.Findings {
			if f.Reason == reasonDuplicate {
				found++
			}
		}
		if want := map[bool]int{true: 1}[twice]; found != want || len(four.Findings) < share {
			t.Errorf("twice %t: %d duplicates in %d findings, want %d", twice, found, len(four.Findings), want)
		}
	}
}
