package conformance

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/yaml"
)

const (
	controlPlane = "gatehouse-system"
	// wouldDeny is the control plane's log message for an object that only level warn let in.
	wouldDeny = "level enforce would have denied what level warn let in"
)

// refusal is an object of the suite that level enforce would have kept out, and why.
type refusal struct {
	Msg, Operation, Kind, Namespace, Name string
	Problems                              []string
}

func (r refusal) compare(o refusal) int {
	return cmp.Or(cmp.Compare(r.Kind, o.Kind), cmp.Compare(r.Namespace, o.Namespace), cmp.Compare(r.Name, o.Name),
		cmp.Compare(r.Operation, o.Operation), slices.Compare(r.Problems, o.Problems))
}

// writeRefusals puts what the control plane's replicas logged of the suite's objects into a page.
func writeRefusals(t *testing.T, client kubernetes.Interface, path string) {
	pods, err := client.CoreV1().Pods(controlPlane).List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=gatehouse"})
	if err != nil || len(pods.Items) == 0 {
		t.Errorf("find the control plane's pods in namespace %s: %d found, %v", controlPlane, len(pods.Items), err)
		return
	}
	var all []refusal
	for _, pod := range pods.Items {
		text, err := client.CoreV1().Pods(controlPlane).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(context.Background())
		if err != nil {
			t.Errorf("read the log of %s: %v", pod.Name, err)
			return
		}
		all = append(all, refusals(text)...)
	}
	page, err := render(all)
	if err == nil {
		err = os.WriteFile(path, page, 0o644)
	}
	if err != nil {
		t.Errorf("write what level enforce would have denied: %v", err)
	}
}

// refusals reads them from a log, which holds other lines too.
func refusals(log []byte) []refusal {
	var all []refusal
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r refusal
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.Msg == wouldDeny {
			all = append(all, r)
		}
	}
	return all
}

// render makes the page: each object once, in order, so that two runs of one version make the same page.
func render(all []refusal) ([]byte, error) {
	slices.SortFunc(all, refusal.compare)
	all = slices.CompactFunc(all, func(a, b refusal) bool { return a.compare(b) == 0 })
	where, err := manifests()
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	fmt.Fprintf(&page, `# What level enforce would have denied of the conformance suite

Written by `+"`make conformance`"+` from the control plane's log. The suite stores objects that must end in a condition that is False, so its
namespaces have the label `+"`gatehouse.dev/admission: warn`"+`. At level enforce, the default, it would have denied these (%d), for the reasons
given; every other object of the suite is stored at that level too.

| object | from | written | denied because |
|---|---|---|---|
`, len(all))
	for _, r := range all {
		key := r.Kind + " " + r.Namespace + "/" + r.Name
		fmt.Fprintf(&page, "| %s | %s | %s | %s |\n", key, cmp.Or(where[key], "the test's code"), strings.ToLower(r.Operation),
			strings.ReplaceAll(strings.Join(r.Problems, "<br>"), "|", `\|`))
	}
	return page.Bytes(), nil
}

// manifests tells which of the suite's files each object comes from.
func manifests() (map[string]string, error) {
	where := map[string]string{}
	err := fs.WalkDir(conformance.Manifests, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		text, err := fs.ReadFile(conformance.Manifests, path)
		if err != nil {
			return err
		}
		for document := range strings.SplitSeq(string(text), "\n---") {
			var o unstructured.Unstructured
			if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
				return fmt.Errorf("decode %s: %w", path, err)
			}
			where[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = path
		}
		return nil
	})
	return where, err
}

// TestRefusalsOnAPage: each refusal is told once, with its file, in an order of its own, and nothing else of the log is.
func TestRefusalsOnAPage(t *testing.T) {
	const log = `{"msg":"level enforce would have denied what level warn let in","operation":"UPDATE","kind":"Gateway","namespace":"x","name":"y","problems":["a|b: bad; mend it","c"]}
not JSON
{"msg":"started"}
{"msg":"level enforce would have denied what level warn let in","operation":"CREATE","kind":"Gateway","namespace":"gateway-conformance-infra","name":"same-namespace","problems":["a: bad; mend it"]}
{"msg":"level enforce would have denied what level warn let in","operation":"UPDATE","kind":"Gateway","namespace":"x","name":"y","problems":["a|b: bad; mend it","c"]}
`
	page, err := render(refusals([]byte(log)))
	if err != nil {
		t.Fatal(err)
	}
	const want = `|---|---|---|---|
| Gateway gateway-conformance-infra/same-namespace | base/manifests.yaml | create | a: bad; mend it |
| Gateway x/y | the test's code | update | a\|b: bad; mend it<br>c |
`
	if _, rows, _ := strings.Cut(string(page), "written | denied because |\n"); rows != want {
		t.Errorf("rows:\n%s\nwant:\n%s", rows, want)
	}
}
