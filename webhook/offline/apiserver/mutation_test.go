package apiserver

import (
	"slices"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestMutations: the API server with the policies of the golden makes the same objects as the review, as a validating
// policy sees them in the end: entries of lists, labels, and fields of Kubernetes' own kinds. It refuses the same ones.
func TestMutations(t *testing.T) {
	archive, err := txtar.ParseFile("../../../cmd/gatehouse/testdata/check-mutations.txtar")
	if err != nil {
		t.Fatal(err)
	}
	policies := slices.Concat(archive.Files[0].Data, []byte("---\n"), archive.Files[1].Data)
	want := ofPolicies(t, slices.Concat(policies, []byte("---\n"), archive.Files[2].Data), 4)
	mutated := slices.DeleteFunc(objects(t, archive.Files[2].Data), func(o *unstructured.Unstructured) bool {
		return o.GetName() == "misplaced" // Its CRD refuses it.
	})
	e := enforce(t, append(namespacesOf("vault", "plain", "base"), objects(t, policies)...), mutated)
	e.compare(want)
}
