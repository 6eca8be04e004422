package kube

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
)

const (
	// against breaks a rule of our CRD that can be evaluated.
	against = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: against, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: absent}]
  loadBalancer: {type: ConsistentHash}
`
	// beyond lacks a field that a rule of our CRD reads.
	beyond = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: beyond, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: absent}]
  loadBalancer: {}
`
	mended = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: beyond, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: absent}]
  loadBalancer: {type: Random}
`
)

// TestStatusOfObjectsThatOurCRDsRefuse: objects that were stored under another CRD may break rules of ours. The API
// server takes the status of one that breaks a rule, but not of one for which a rule cannot be evaluated. The latter is
// reported once, in the log and in an Event, and gets its status as soon as it is corrected.
func TestStatusOfObjectsThatOurCRDsRefuse(t *testing.T) {
	s := newSeen(t)
	ours := ourDefinitions(t)
	theirs := lenient(ours)
	s.define(t, theirs)
	t.Cleanup(func() { s.uninstall(t, theirs) })
	s.refuses(t, false)
	for _, text := range []string{against, beyond} {
		s.create(t, object(t, text))
	}
	s.define(t, ours)
	s.refuses(t, true)

	lines, registry := &log{}, prometheus.NewRegistry()
	s.govern(t, registry, lines.logger())
	s.awaitAccepted(t, "against", "False")
	becomes(t, func() error {
		return lines.once("the status cannot be written", "spec.loadBalancer", "no such key: type")
	})
	if got := statusWrites(t, registry, "refused"); got != 1 {
		t.Errorf("%d writes were refused, want 1", got)
	}
	becomes(t, func() error { return s.reported(t, "Warning BackendTrafficPolicy beyond") })

	corrected, stored := object(t, mended), &unstructured.Unstructured{}
	stored.SetGroupVersionKind(corrected.GroupVersionKind())
	if err := s.Get(t.Context(), client.ObjectKeyFromObject(corrected), stored); err != nil {
		t.Fatal(err)
	}
	stored.Object["spec"] = corrected.Object["spec"]
	if err := s.Update(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	s.awaitAccepted(t, "beyond", "False") // Its target is absent.
}

// reported returns an error unless the Events about refused statuses are about these objects, and name a field.
func (s *seen) reported(t *testing.T, want ...string) error {
	t.Helper()
	events := &corev1.EventList{}
	if err := s.List(t.Context(), events, client.InNamespace("default")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events.Items {
		if e.Reason == "StatusRefused" && strings.Contains(e.Message, "spec.") {
			got = append(got, fmt.Sprintf("%s %s %s", e.Type, e.InvolvedObject.Kind, e.InvolvedObject.Name))
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("there are Events about %q, want %q", got, want)
	}
	return nil
}

// awaitAccepted waits until a BackendTrafficPolicy has condition Accepted.
func (s *seen) awaitAccepted(t *testing.T, name, want string) {
	t.Helper()
	becomes(t, func() error {
		p := &v1alpha1.BackendTrafficPolicy{}
		if err := s.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, p); err != nil {
			return err
		}
		if len(p.Status.Ancestors) != 1 || string(p.Status.Ancestors[0].Conditions[0].Status) != want {
			return fmt.Errorf("the status of %s is %v", name, p.Status)
		}
		return nil
	})
}

// statusWrites counts the writes with a result.
func statusWrites(t *testing.T, registry *prometheus.Registry, result string) (n int) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if family.GetName() == "gatehouse_status_writes_total" && label.GetName() == "result" &&
					label.GetValue() == result {
					n += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return n
}

// log keeps the lines of a log.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) logger() logr.Logger {
	return funcr.New(func(_, line string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, line)
	}, funcr.Options{})
}

// once returns an error unless one line has all of the words.
func (l *log) once(words ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if has {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%d lines have %q: %q", n, words, l.lines)
	}
	return nil
}

// object decodes an object.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	document, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = o.UnmarshalJSON(document)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}
