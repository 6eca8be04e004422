package apiserver

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// TestPolicies: the API server with the policies of the golden denies the objects of the golden, and warns of them, with
// the words of the review.
func TestPolicies(t *testing.T) {
	archive, err := txtar.ParseFile("../../../cmd/gatehouse/testdata/check-policies.txtar")
	if err != nil {
		t.Fatal(err)
	}
	policies := slices.DeleteFunc(objects(t, archive.Files[0].Data), func(o *unstructured.Unstructured) bool {
		return o.GetName() == "misspelt" // The API server does not take it.
	})
	want := ofPolicies(t, slices.Concat(archive.Files[0].Data, []byte("---\n"), archive.Files[1].Data), 3)
	e := enforce(t, append(namespacesOf("bank", "other", "platform"), policies...), objects(t, archive.Files[1].Data))
	e.compare(want)
}

// ofPolicies is what policies say in the review of a text, by the name of the object. It is about some number of objects.
func ofPolicies(t *testing.T, text []byte, number int) map[string][]string {
	t.Helper()
	said := map[string][]string{}
	for _, f := range review(t, text).Findings {
		if f.Reason == "AdmissionPolicy" {
			said[f.Object.Name] = append(said[f.Object.Name], f.Message)
		}
	}
	if len(said) != number {
		t.Fatalf("the review has findings of %d objects: %v", len(said), said)
	}
	return said
}

// enforcing is an API server with policies, and the objects that it is asked about.
type enforcing struct {
	*testing.T
	client  client.Client
	heard   *said
	objects []*unstructured.Unstructured
}

// enforce stores policies and what they need until the test ends.
func enforce(t *testing.T, policies, objects []*unstructured.Unstructured) *enforcing {
	t.Helper()
	e := &enforcing{T: t, heard: &said{}, objects: objects}
	config := rest.CopyConfig(server.Config(t))
	config.WarningHandler, config.QPS = e.heard, -1
	var err error
	if e.client, err = client.New(config, client.Options{}); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context()) // The context of a test ends before its cleanup.
	t.Cleanup(func() {
		for _, object := range policies {
			if object.GetKind() == "Namespace" {
				continue // It would never go, because nobody finalizes it here.
			}
			if err := e.client.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		}
		e.until(ctx, map[string][]string{}) // Other tests use the same API server.
	})
	for _, object := range policies {
		if err := e.client.Create(ctx, object); client.IgnoreAlreadyExists(err) != nil { // Namespaces stay.
			t.Fatal(err)
		}
	}
	return e
}

// compare waits until the API server says what is wanted.
func (e *enforcing) compare(want map[string][]string) {
	e.Helper()
	e.until(e.Context(), want)
}

// until asks until the API server says what is wanted: it begins and ends to enforce policies some time after they are
// stored and deleted.
func (e *enforcing) until(ctx context.Context, want map[string][]string) {
	e.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		got := map[string][]string{}
		for _, object := range e.objects {
			e.heard.texts = nil
			err := e.client.Create(ctx, object.DeepCopy(), client.DryRunAll)
			if texts := append(denied(e.T, err), e.heard.texts...); len(texts) > 0 {
				got[object.GetName()] = texts
			}
		}
		diff := cmp.Diff(want, got)
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			e.Fatalf("(-wanted +API server):\n%s", diff)
		}
	}
}

// said collects the warnings from the API server.
type said struct{ texts []string }

func (s *said) HandleWarningHeader(_ int, _, text string) { s.texts = append(s.texts, text) }

// denied is the text of a denial; nil if there is none.
func denied(t *testing.T, err error) []string {
	t.Helper()
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil
	case apierrors.IsServiceUnavailable(err):
		return []string{err.Error()} // The API server does not know the types of a new CRD yet, and is asked again.
	}
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		t.Fatal(err)
	}
	return []string{status.Status().Details.Causes[0].Message}
}

func objects(t *testing.T, text []byte) (all []*unstructured.Unstructured) {
	t.Helper()
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			t.Fatal(err)
		}
		all = append(all, object)
	}
	return all
}

func namespacesOf(names ...string) (all []*unstructured.Unstructured) {
	for _, name := range names {
		all = append(all, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
		}})
	}
	return all
}
