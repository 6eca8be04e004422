package apiserver

import (
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"gatehouse/api/crdtest"
	"gatehouse/webhook/offline"
)

// TestScopes: the kinds of Kubernetes itself are in namespaces, or not, as the API server says.
func TestScopes(t *testing.T) {
	client, err := discovery.NewDiscoveryClientForConfig(server.Config(t))
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	crds, err := crdtest.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	kinds := 0
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(crds, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
			return crd.Spec.Group == version.Group
		}) {
			continue // CRDs have their own scope.
		}
		for _, resource := range list.APIResources {
			kind := schema.GroupKind{Group: version.Group, Kind: resource.Kind}
			if strings.Contains(resource.Name, "/") {
				continue // A subresource may have a kind of its own.
			}
			kinds++
			if got := !offline.ClusterScoped(kind); got != resource.Namespaced {
				t.Errorf("%s: namespaced is %v, but the API server says %v", kind, got, resource.Namespaced)
			}
		}
	}
	if kinds < 40 {
		t.Errorf("the API server serves %d kinds", kinds)
	}
}
