package kube

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// TestRoutesOfOlderCRDs: under the CRDs of v1.6 and of today, the sessions of routes come with their names, from the
// first list and from events.
func TestRoutesOfOlderCRDs(t *testing.T) {
	today := routeDefinitions(t, "../../bin/gateway-api-crds.yaml")
	for _, release := range []struct {
		crds    []*apiextensionsv1.CustomResourceDefinition
		session string
	}{
		{routeDefinitions(t, "../../bin/gateway-api-crds-1.6.yaml"), `{"type": "Header", "sessionName": "x-%s"}`},
		{today, `{"type": "Header", "header": {"name": "x-%s"}}`},
	} {
		s := newSeen(t)
		s.define(t, release.crds)
		listed := s.session(t, "HTTPRoute", "listed", fmt.Sprintf(release.session, "listed"))
		s.watch(t)
		told := s.session(t, "GRPCRoute", "told", fmt.Sprintf(release.session, "told"))
		for o, want := range map[*unstructured.Unstructured]string{listed: "x-listed", told: "x-told"} {
			s.await(t, o, false)
			e, _ := s.last(o)
			if got := sessionOf(e.Object); got == nil || got.Header == nil || string(got.Header.Name) != want {
				t.Errorf("under CRDs %s, %T has the sessions %s, want those of header %s", version(release.crds[0]), e.Object,
					cmp.Diff(nil, got), want)
			}
			if e.Object.GetObjectKind().GroupVersionKind().Kind != "" || len(e.Object.GetManagedFields()) > 0 {
				t.Errorf("%s is not held as other objects are", o.GetName())
			}
			if err := s.Delete(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			s.await(t, o, true)
		}
	}
}

func version(crd *apiextensionsv1.CustomResourceDefinition) string {
	return crd.Annotations["gateway.networking.k8s.io/bundle-version"]
}

// routeDefinitions are the CRDs of HTTPRoutes and GRPCRoutes in a file.
func routeDefinitions(t *testing.T, file string) (crds []*apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("%v: make build writes it", err)
	}
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(document, crd); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(crd.Name, "httproutes.") || strings.HasPrefix(crd.Name, "grpcroutes.") {
			crds = append(crds, crd)
		}
	}
	if len(crds) != 2 {
		t.Fatalf("%s has %d of the two CRDs", file, len(crds))
	}
	return crds
}

// session creates a route with sessions, once the CRDs take them.
func (s *seen) session(t *testing.T, kind, name, session string) *unstructured.Unstructured {
	t.Helper()
	text := fmt.Sprintf(`{"apiVersion": "gateway.networking.k8s.io/v1", "kind": %q, "metadata": {"name": %q, "namespace": "default"}, "spec": {"rules": [{"sessionPersistence": %s}]}}`, kind, name, session)
	var created *unstructured.Unstructured
	becomes(t, func() error {
		created = &unstructured.Unstructured{}
		if err := created.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return s.Create(t.Context(), created, client.FieldValidation("Strict"))
	})
	return created
}

func sessionOf(o any) *gwapiv1.SessionPersistence {
	switch o := o.(type) {
	case *gwapiv1.HTTPRoute:
		return o.Spec.Rules[0].SessionPersistence
	case *gwapiv1.GRPCRoute:
		return o.Spec.Rules[0].SessionPersistence
	}
	return nil
}
