package apiserver

import (
	"bytes"
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
	config := rest.CopyConfig(server.Config(t))
	heard := &said{}
	config.WarningHandler, config.QPS = heard, -1
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range append(namespacesOf("bank", "other", "platform"), objects(t, archive.Files[0].Data)...) {
		if object.GetName() == "misspelt" {
			continue // The API server does not take it.
		}
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Delete(t.Context(), object) })
	}
	both := slices.Concat(archive.Files[0].Data, []byte("---\n"), archive.Files[1].Data)
	want := map[string][]string{}
	for _, f := range review(t, both).Findings {
		if f.Reason == "AdmissionPolicy" {
			want[f.Object.Name] = append(want[f.Object.Name], f.Message)
		}
	}
	if len(want) != 3 {
		t.Fatalf("the review has findings of %d objects: %v", len(want), want)
	}
	deadline := time.Now().Add(30 * time.Second) // The API server begins to enforce policies some time after they are stored.
	for {
		got := map[string][]string{}
		for _, object := range objects(t, archive.Files[1].Data) {
			heard.texts = nil
			if texts := append(denied(t, c.Create(t.Context(), object.DeepCopy(), client.DryRunAll)), heard.texts...); len(texts) > 0 {
				got[object.GetName()] = texts
			}
		}
		diff := cmp.Diff(want, got)
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("(-review +API server):\n%s", diff)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// said collects the warnings from the API server.
type said struct{ texts []string }

func (s *said) HandleWarningHeader(_ int, _, text string) { s.texts = append(s.texts, text) }

// denied is the text of a denial; nil if there is none.
func denied(t *testing.T, err error) []string {
	t.Helper()
	var status apierrors.APIStatus
	if err == nil {
		return nil
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
