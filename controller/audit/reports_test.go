package audit

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/infra/kubetest"
)

// definitions are the CRDs of a file.
func definitions(t testing.TB, file string) (all []*apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		metav1.TypeMeta
		Items []*apiextensionsv1.CustomResourceDefinition `json:"items"`
	}
	if err := yaml.UnmarshalStrict(text, &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// clerk is an office that writes reports with an API server.
type clerk struct {
	*office
	*reader
	discovery discovery.DiscoveryInterface
}

func newClerk(t *testing.T) *clerk {
	t.Helper()
	served, err := discovery.NewDiscoveryClientForConfig(server.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	r := live(t)
	f := newOffice(t, Options{Reports: &Reports{Client: r, Discovery: served, Log: testr.New(t)}})
	return &clerk{f, r, served}
}

// install installs the kinds of reports of a file, and removes them in the end.
func (c *clerk) install(file, groupVersion string) {
	c.t.Helper()
	for _, crd := range definitions(c.t, file) {
		if err := c.Create(c.t.Context(), crd); err != nil {
			c.t.Fatal(err)
		}
	}
	c.until(func() error {
		list, err := c.discovery.ServerResourcesForGroupVersion(groupVersion)
		if err != nil || len(list.APIResources) < 2 {
			return fmt.Errorf("%s is not served: %w", groupVersion, err)
		}
		return nil
	})
}

func (c *clerk) uninstall(file, groupVersion string) {
	c.t.Helper()
	for _, crd := range definitions(c.t, file) {
		if err := c.Delete(c.t.Context(), crd); err != nil {
			c.t.Fatal(err)
		}
	}
	c.until(func() error {
		_, err := c.discovery.ServerResourcesForGroupVersion(groupVersion)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("%s is served: %w", groupVersion, err)
	})
}

func (c *clerk) until(try func() error) {
	c.t.Helper()
	var err error
	for range 200 {
		if err = try(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatal(err)
}

// reportAll judges everything and writes reports, after the time in which kinds are not looked for.
func (c *clerk) reportAll() {
	c.t.Helper()
	c.work()
	c.now = c.now.Add(lookAgain)
	for range 5 {
		c.report(c.t.Context())
	}
}

// stored are the reports of a kind, by namespace and name.
func (c *clerk) stored(k *reportKind) map[string]*unstructured.Unstructured {
	c.t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for _, kind := range []string{k.namespaced, k.cluster} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(k.WithKind(kind + "List"))
		if err := c.Client.List(c.t.Context(), list); err != nil {
			c.t.Fatal(err)
		}
		for i := range list.Items {
			all[list.Items[i].GetNamespace()+"/"+list.Items[i].GetName()] = &list.Items[i]
		}
	}
	return all
}

const aboutClasses = `
severity: audit
matchConstraints:
  resourceRules: [{apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [gatewayclasses], operations: [CREATE]}]
validations:
- {expression: "has(object.spec.description)", fieldPath: spec.description, message: describe it, reason: Undescribed}
`

// TestReports: results are in one report for each namespace, of the kind that the cluster has, from when it has it. A
// report is written only if something changed, and removed if it would be empty.
func TestReports(t *testing.T) {
	c := newClerk(t)
	ns, quiet := c.namespace(t), c.namespace(t)
	c.rule("hosts", aboutHosts)
	c.rule("classes", aboutClasses)
	c.store(namespace(ns, nil), namespace(quiet, nil))
	c.store(route(ns, "bad", 1, "a.org"), route(ns, "good", 1), route(quiet, "good", 1),
		&gwapiv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "c", Generation: 1}})
	c.lead(true)
	c.reportAll() // There is nothing to write them to.
	wgpolicy, open := reportKinds[1], reportKinds[0]

	c.install("wgpolicy.yaml", "wgpolicyk8s.io/v1alpha2")
	c.reportAll()
	all := c.stored(wgpolicy)
	if keys := slices.Collect(keysOf(all)); len(all) != 2 {
		t.Fatalf("there are reports %v, want one of %s and one of the cluster", keys, ns)
	}
	report := all[ns+"/gatehouse"].Object
	metadata := report["metadata"].(map[string]any)
	if diff := cmp.Diff(map[string]any{"app.kubernetes.io/managed-by": "gatehouse"}, metadata["labels"]); diff != "" {
		t.Error(diff)
	}
	delete(report, "metadata")
	want := map[string]any{
		"apiVersion": "wgpolicyk8s.io/v1alpha2", "kind": "PolicyReport",
		"summary": map[string]any{"pass": int64(1), "fail": int64(1), "warn": int64(0), "error": int64(0), "skip": int64(0)},
		"results": []any{map[string]any{
			"source": "gatehouse", "policy": "hosts", "rule": "RuleViolated", "category": "AdmissionRule", "severity": "high",
			"result": "fail", "scored": true, "message": "use example.com", "properties": map[string]any{"field": "spec.hostnames"},
			"resources": []any{map[string]any{
				"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "namespace": ns, "name": "bad",
			}},
		}},
	}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("the report (-want +got):\n%s", diff)
	}
	results, _, _ := unstructured.NestedSlice(all["/gatehouse"].Object, "results")
	if got := fmt.Sprint(results); !strings.Contains(got, "Undescribed") || !strings.Contains(got, "severity:low") {
		t.Error(got)
	}

	// The other kind wins as soon as there is one.
	c.install("openreports.yaml", "openreports.io/v1alpha1")
	c.reportAll()
	if left := c.stored(wgpolicy); len(left) != 0 {
		t.Errorf("%d old reports are left", len(left))
	}
	all = c.stored(open)
	if len(all) != 2 || all[ns+"/gatehouse"].Object["source"] != "gatehouse" {
		t.Fatalf("%d new reports: %v", len(all), all)
	}
	version := all[ns+"/gatehouse"].GetResourceVersion()
	c.changedNamespaces[ns], c.changedNamespaces[quiet] = true, true
	c.reportAll()
	if all = c.stored(open); len(all) != 2 || all[ns+"/gatehouse"].GetResourceVersion() != version {
		t.Errorf("a report is written although nothing changed")
	}

	// A new leader takes over the reports. What was mended meanwhile goes.
	c.lead(false)
	c.store(route(ns, "bad", 2))
	c.o.Reports.forget()
	c.lead(true)
	c.reportAll()
	if all = c.stored(open); len(all) != 1 || all["/gatehouse"] == nil {
		t.Errorf("there are reports %v, want only that of the cluster", slices.Collect(keysOf(all)))
	}

	// A report of others is left alone.
	foreign := &unstructured.Unstructured{Object: map[string]any{"source": "others"}}
	foreign.SetGroupVersionKind(open.of(quiet))
	foreign.SetName("gatehouse")
	foreign.SetNamespace(quiet)
	if err := c.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	c.store(route(quiet, "bad", 1, "a.org"))
	c.reportAll()
	if all = c.stored(open); all[quiet+"/gatehouse"].Object["source"] != "others" {
		t.Error("a report of others is overwritten")
	}
	c.uninstall("openreports.yaml", "openreports.io/v1alpha1")
	c.uninstall("wgpolicy.yaml", "wgpolicyk8s.io/v1alpha2")
	c.reportAll()
	if c.o.Reports.installed() {
		t.Error("a kind that is gone counts as installed")
	}
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// TestReportsAreBounded: there are at most so many reports. Others are written when there is room.
func TestReportsAreBounded(t *testing.T) {
	f := newOffice(t, Options{Reports: &Reports{kind: reportKinds[0], written: map[string]bool{}}})
	f.rule("hosts", aboutHosts)
	f.lead(true)
	const namespaces = mostReports + 5
	for i := range namespaces {
		name := fmt.Sprintf("n%04d", i)
		f.store(namespace(name, nil), route(name, "r", 1, gwapiv1.Hostname(strings.Repeat("a", 50)+".org")))
	}
	f.work()
	for range 2 * mostReports / mostWrites {
		contents := f.toReport()
		if len(contents) > mostWrites {
			t.Fatalf("%d reports are written at once", len(contents))
		}
		for _, c := range contents {
			f.o.Reports.written[c.namespace] = true // As write does.
		}
	}
	if n := len(f.o.Reports.written); n != mostReports {
		t.Fatalf("%d reports", n)
	}
	f.store(route("n0000", "r", 2))
	f.work()
	if contents := f.toReport(); len(contents) != 1 || !contents[0].empty() {
		t.Fatalf("a report that is empty is not removed: %+v", contents)
	}
	delete(f.o.Reports.written, "n0000")
	if contents := f.toReport(); len(contents) != mostWrites && len(contents) != 5 || contents[0].namespace != "n1000" {
		t.Errorf("the next report is not written: %d", len(contents))
	}
}

// TestAuditor: an auditor that runs by itself tells of results, in its time, and goes to rest.
func TestAuditor(t *testing.T) {
	changed := make(chan string, 100)
	f := newOffice(t, Options{})
	f.o.Changed, f.o.Interval = func(rule string) { changed <- rule }, 10*time.Millisecond
	f.rule("hosts", aboutHosts)
	f.store(namespace("n", nil), route("n", "a", 1, "a.org"))
	kubetest.Start(t, f.Start)
	told := func() {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing is told")
		}
	}
	told()
	f.want("hosts", "judged 1, violations 1, excepted 0, failed 0", "HTTPRoute n/a spec.hostnames: use example.com")
	f.store(route("n", "a", 2), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}})
	told()
	f.want("hosts", "judged 1, violations 0, excepted 0, failed 0")
}
