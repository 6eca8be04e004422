// Package apiserver compares reviews of files with the answers of a real API server.
package apiserver

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"gatehouse/api/crdtest"
	"gatehouse/controller/kube"
	"gatehouse/infra/kubetest"
	"gatehouse/policies/rules"
	"gatehouse/translator"
	"gatehouse/translator/heavy"
	"gatehouse/webhook"
	"gatehouse/webhook/offline"
)

var server kubetest.Server

func TestMain(m *testing.M) {
	kubetest.Run(m, &server, "bin/gateway-api-crds.yaml", "manifests/gatehouse-crds/files")
}

// TestBrokenObjects: the API server refuses each object of the corpus, and a review of the corpus has the same errors.
func TestBrokenObjects(t *testing.T) {
	corpus, err := os.ReadFile("testdata/broken.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, found := user(t), reviewed(t, corpus)
	for text := range bytes.SplitSeq(corpus, []byte("\n---\n")) {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal(text, &object.Object); err != nil {
			t.Fatal(err)
		}
		t.Run(object.GetName(), func(t *testing.T) {
			answer, _ := create(t, c, &object)
			if len(answer) == 0 {
				t.Error("the API server admits it")
			}
			if diff := cmp.Diff(answer, found[object.GetName()]); diff != "" {
				t.Errorf("(-API server +review):\n%s", diff)
			}
		})
	}
}

// TestRandomObjects: the API server and a review agree about random objects of every kind, and about their defaults.
func TestRandomObjects(t *testing.T) {
	c := user(t)
	kinds, err := crdtest.Kinds(func(schema.GroupVersionKind) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	maker := &crdtest.Maker{Rand: rand.New(rand.NewPCG(1, 2)), Words: heavy.Words}
	type answered struct {
		kind   *crdtest.Kind
		object *unstructured.Unstructured
		text   []byte
	}
	all, corpus := map[string]answered{}, []byte{}
	for i, kind := range kinds {
		for n := range 40 {
			name := fmt.Sprintf("object-%d-%d", i, n)
			object := &unstructured.Unstructured{Object: kind.Object("default", name, maker.Spec(kind))}
			text, err := yaml.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = answered{kind, object, text}
			corpus = append(append(corpus, "---\n"...), text...)
		}
	}
	admitted, found := map[string]int{}, reviewed(t, corpus)
	for name, each := range all {
		answer, stored := create(t, c, each.object)
		if diff := cmp.Diff(answer, found[name]); diff != "" {
			t.Fatalf("%s\n(-API server +review):\n%s", each.text, diff)
		}
		if len(answer) > 0 {
			continue
		}
		admitted[each.object.GetKind()]++
		each.kind.Default(each.object.Object)
		if diff := cmp.Diff(stored.Object["spec"], each.object.Object["spec"]); diff != "" {
			t.Fatalf("%s\ndefaults (-API server +review):\n%s", each.text, diff)
		}
	}
	t.Logf("of %d objects these are admitted: %v", len(all), admitted)
	if len(admitted) < 10 {
		t.Error("objects of too few kinds are admitted")
	}
}

// user is a client that ignores warnings.
func user(t *testing.T) client.Client {
	t.Helper()
	config := rest.CopyConfig(server.Config(t))
	config.WarningHandler, config.QPS = rest.NoWarnings{}, -1
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// create asks the API server to create an object, as kubectl does, without storing it. It returns the errors, and the
// object as it would be stored.
func create(t *testing.T, c client.Client, object *unstructured.Unstructured) (answer []string,
	stored *unstructured.Unstructured,
) {
	t.Helper()
	stored = object.DeepCopy()
	if stored.GetNamespace() == "" {
		stored.SetNamespace("default")
	}
	err := c.Create(t.Context(), stored, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil, stored
	case !errors.As(err, &status):
		t.Fatal(err)
	}
	answer = append(answer, unknownField.FindAllString(err.Error(), -1)...)
	if details := status.Status().Details; details != nil {
		for _, cause := range details.Causes {
			answer = append(answer, fmt.Sprintf("%s %s: %s", cause.Type, strings.Replace(cause.Field, "<nil>", "", 1),
				strings.Join(strings.Fields(cause.Message), " ")))
		}
	}
	if len(answer) == 0 {
		answer = append(answer, err.Error())
	}
	slices.Sort(answer)
	return slices.Compact(answer), nil
}

// unknownField matches what a strict API server says of a field that a kind does not have.
var unknownField = regexp.MustCompile(`unknown field "[^"]*"`)

// reviewed returns the errors of schemas in a review of the text, by the name of the object.
func reviewed(t *testing.T, text []byte) map[string][]string {
	t.Helper()
	said := map[string][]string{}
	for _, f := range review(t, text).Findings {
		name := f.Object.Name
		switch unknown := unknownField.FindString(f.Message); {
		case unknown != "":
			said[name] = append(said[name], unknown)
		case strings.HasPrefix(f.Reason, "FieldValue"):
			said[name] = append(said[name], fmt.Sprintf("%s %s: %s", f.Reason, f.Field, f.Message))
		}
	}
	for name := range said {
		slices.Sort(said[name])
		said[name] = slices.Compact(said[name])
	}
	return said
}

// review reviews a text with all CRDs.
func review(t *testing.T, text []byte) *offline.Review {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	crds, err := crdtest.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	r, err := offline.Files(offline.Options{
		Scheme: kube.NewScheme(), CRDs: crds, Namespace: "default", Level: webhook.LevelEnforce,
		World: translator.NewWorld(translator.NewTables(translator.Settings{ControllerName: "example.com/c"}, engine)),
	}, []string{"-"}, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
