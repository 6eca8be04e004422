package manifests

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"gatehouse/api/crdtest"
)

// TestCRDs: the program has the CRDs of Gateway API's module and ours, and only their descriptions are missing.
func TestCRDs(t *testing.T) {
	embedded, complete, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	if !complete {
		t.Skip("no CRDs of Gateway API in manifests/crds: manifests/embed.sh puts them there")
	}
	originals, err := crdtest.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	want, got := fields(t, originals), fields(t, embedded)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-files +embedded):\n%s", diff)
	}
	if len(got) < 15 {
		t.Errorf("there are %d CRDs", len(got))
	}
}

// fields are CRDs by name, without descriptions.
func fields(t *testing.T, crds []*apiextensionsv1.CustomResourceDefinition) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, crd := range crds {
		text, err := json.Marshal(crd)
		if err != nil {
			t.Fatal(err)
		}
		var value map[string]any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		all[crd.Name] = undescribed(value)
	}
	return all
}

func undescribed(value any) any {
	switch value := value.(type) {
	case map[string]any:
		if _, text := value["description"].(string); text {
			delete(value, "description")
		}
		for name := range value {
			value[name] = undescribed(value[name])
		}
	case []any:
		for i := range value {
			value[i] = undescribed(value[i])
		}
	}
	return value
}
