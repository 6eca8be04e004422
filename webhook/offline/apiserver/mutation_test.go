package apiserver

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestMutations: the API server with the policies of the golden makes the same objects as the review, as a validating
// policy sees them in the end: entries of lists, labels, and fields of Kubernetes' own kinds. It refuses the same ones.
func TestMutations(t *testing.T) {
	archive, err := txtar.ParseFile("../../../cmd/gatehouse/testdata/check-mutations.txtar")
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
	policies := slices.Concat(archive.Files[0].Data, []byte("---\n"), archive.Files[1].Data)
	for _, object := range append(namespacesOf("vault", "plain", "base"), objects(t, policies)...) {
		if err := c.Create(t.Context(), object); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
		ctx := context.WithoutCancel(t.Context())
		t.Cleanup(func() { _ = c.Delete(ctx, object) })
	}
	want := map[string][]string{}
	for _, f := range review(t, slices.Concat(policies, []byte("---\n"), archive.Files[2].Data)).Findings {
		if f.Reason == "AdmissionPolicy" {
			want[f.Object.Name] = append(want[f.Object.Name], f.Message)
		}
	}
	if len(want) != 4 {
		t.Fatalf("the review has findings of %d objects: %v", len(want), want)
	}
	deadline := time.Now().Add(30 * time.Second) // The API server begins to enforce policies some time after they are stored.
	for {
		got := map[string][]string{}
		for _, object := range objects(t, archive.Files[2].Data) {
			if object.GetName() == "misplaced" {
				continue // Its CRD refuses it.
			}
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
