package v1alpha1_test

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies"
)

// TestTargetKinds compares what the rules of the CRDs say of targets with the tables of package policies: each policy
// can name the kinds that are in its row, and no others, and both say the same to somebody who names another one.
func TestTargetKinds(t *testing.T) {
	servers := loadCRDs(t)
	for _, kind := range policies.Kinds {
		server, ours := servers[kind.Kind]
		if !ours {
			continue // The CRD is Envoy Gateway's.
		}
		targets := append(slices.Clone(policies.TargetKinds), policies.TargetKind{
			Group: "gateway.networking.k8s.io",
			Kind:  "MeshRoute",
		})
		for _, target := range targets {
			want := slices.Contains(kind.Targets, target.Kind)
			ref := map[string]any{"group": target.Group, "kind": target.Kind, "name": "x", "sectionName": "y"}
			for field, value := range map[string]any{"targetRef": ref, "targetRefs": []any{ref}} {
				answer := server.judge(&unstructured.Unstructured{Object: map[string]any{
					"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind.Kind, "metadata": map[string]any{"name": "p"},
					"spec": map[string]any{field: value},
				}})
				if got := len(answer) == 0; got != want {
					t.Errorf("a %s with a %s to a %s is accepted by the CRD: %t, by the translation: %t: %q", kind.Kind, field,
						target.Kind, got, want, answer)
				}
				if list := listOf(t, kind); !want && !slices.ContainsFunc(answer,
					func(a string) bool { return strings.Contains(a, list) }) {
					t.Errorf("a %s with a %s to a %s gets an answer without %q: %q", kind.Kind, field, target.Kind, list, answer)
				}
			}
		}
	}
}

// listOf returns the targets of a kind as its policies are told of them when they name another one.
func listOf(t *testing.T, kind policies.Kind) string {
	t.Helper()
	_, problems := policies.Selectors(kind, withSelector(kind))
	if len(problems) != 1 {
		t.Fatalf("a %s that selects MeshRoutes has %d problems, want 1: %v", kind.Kind, len(problems), problems)
	}
	_, list, found := strings.Cut(problems[0].Message, ": write ")
	if !found {
		t.Fatalf("%q does not say what to write", problems[0].Message)
	}
	return list
}

func withSelector(kind policies.Kind) policies.Object {
	p := kind.New()
	p.GetTargets().TargetSelectors = []v1alpha1.TargetSelector{{Kind: "MeshRoute"}}
	return p
}
