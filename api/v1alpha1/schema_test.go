package v1alpha1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

const crdFiles = "../../manifests/gatehouse-crds/files/*.yaml"

// TestSchema applies the objects of each testdata/*.txtar to the generated CRDs as the API server does: defaults,
// unknown fields as kubectl rejects them, schema, and CEL rules. Then it reads them as the control plane does. The file
// has the objects in input.yaml and the answers, in the API server's words, in answers.
func TestSchema(t *testing.T) {
	servers := loadCRDs(t)
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding testdata/*.txtar: %d files, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(archive.Files) == 0 || archive.Files[0].Name != "input.yaml" {
				t.Fatalf("%s must begin with file input.yaml", file)
			}
			got := answers(t, servers, archive.Files[0].Data)
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "answers", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			var want string
			for _, f := range archive.Files[1:] {
				want += string(f.Data)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answers differ; make golden rewrites them (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCRDsServeEveryKind compares the generated CRDs with the registered kinds.
func TestCRDsServeEveryKind(t *testing.T) {
	servers := loadCRDs(t)
	var got []string
	for kind := range servers {
		got = append(got, kind)
	}
	sort.Strings(got)
	want := []string{
		rulesv1alpha1.KindAdmissionException, rulesv1alpha1.KindAdmissionRule, v1alpha1.KindBackend,
		v1alpha1.KindBackendTrafficPolicy, v1alpha1.KindClientTrafficPolicy, v1alpha1.KindEnvoyProxy, v1alpha1.KindHTTPRouteFilter,
		v1alpha1.KindSecurityPolicy,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds with a CRD (-want +got):\n%s", diff)
	}
}

// server is the part of the API server that checks objects of one kind.
type server struct {
	structural *structuralschema.Structural
	schema     validation.SchemaValidator
	cel        *cel.Validator
}

// loadCRDs returns a server for each generated CRD. It fails the test if the API server would reject a CRD, because its
// schema is not structural or because a CEL rule is wrong or may cost too much.
func loadCRDs(t *testing.T) map[string]server {
	t.Helper()
	files, err := filepath.Glob(crdFiles)
	if err != nil {
		t.Fatal(err)
	}
	servers := map[string]server{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v1 apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &v1); err != nil {
			t.Fatalf("decoding %s: %v", file, err)
		}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
		var crd apiextensions.CustomResourceDefinition
		if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &crd,
			nil); err != nil {
			t.Fatalf("converting %s: %v", file, err)
		}
		crd.Status.StoredVersions = []string{v1.Spec.Versions[0].Name}
		if errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), &crd); len(errs) > 0 {
			t.Fatalf("the API server would refuse %s: %v", file, errs.ToAggregate())
		}
		servers[v1.Spec.Names.Kind] = newServer(t, &crd)
	}
	return servers
}

func newServer(t *testing.T, crd *apiextensions.CustomResourceDefinition) server {
	t.Helper()
	schema := crd.Spec.Validation
	if schema == nil {
		schema = crd.Spec.Versions[0].Schema
	}
	structural, err := structuralschema.NewStructural(schema.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("reading the schema of %s: %v", crd.Name, err)
	}
	schemaValidator, _, err := validation.NewSchemaValidator(schema.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("reading the schema of %s: %v", crd.Name, err)
	}
	return server{structural, schemaValidator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
}

// judge returns the API server's answers when obj is created; none means that it is stored.
func (s server) judge(obj *unstructured.Unstructured) []string {
	var words []string
	unknown := pruning.PruneWithOptions(obj.Object, s.structural, true,
		structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		words = append(words, fmt.Sprintf("unknown field %q", path))
	}
	for _, f := range unread(obj) {
		words = append(words, fmt.Sprintf("not read: %s %s", f.Path, how(f)))
	}
	defaulting.Default(obj.Object, s.structural)

	errs := validation.ValidateCustomResource(nil, obj.Object, s.schema)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, s.structural, obj.Object)...)
	// The fields of an object are validated in any order.
	slices.SortFunc(errs, func(a, b *field.Error) int { return strings.Compare(a.Error(), b.Error()) })
	if blocking(errs) {
		errs = append(errs, field.Invalid(nil, nil,
			"some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
	} else {
		celErrs, _ := s.cel.Validate(context.Background(), nil, s.structural, obj.Object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, celErrs...)
	}
	for _, err := range errs {
		words = append(words, err.Error())
	}
	return words
}

// unread lists the fields of an object's spec that the control plane does not read.
func unread(obj *unstructured.Unstructured) []v1alpha1.UnreadField {
	switch obj.GetKind() {
	case v1alpha1.KindEnvoyProxy:
		return decoded[v1alpha1.EnvoyProxy](obj).Spec.Unread
	case v1alpha1.KindBackend:
		return decoded[v1alpha1.Backend](obj).Spec.Unread
	case v1alpha1.KindHTTPRouteFilter:
		return decoded[v1alpha1.HTTPRouteFilter](obj).Spec.Unread
	case v1alpha1.KindSecurityPolicy:
		return decoded[v1alpha1.SecurityPolicy](obj).GetUnread()
	}
	return decoded[v1alpha1.BackendTrafficPolicy](obj).GetUnread()
}

// how says why a field is not read.
func how(f v1alpha1.UnreadField) string {
	switch {
	case f.Failure != "":
		return "(" + f.Failure + ")"
	case f.Known:
		return "(not served)"
	}
	return fmt.Sprintf("(unknown, nearest %q)", f.Nearest)
}

// decoded reads an object as informers do.
func decoded[T any](obj *unstructured.Unstructured) *T {
	into := new(T)
	text, err := obj.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		panic(err) // The decoder reports wrong types in UnreadField.Failure.
	}
	return into
}

// blocking reports whether errs prevent the API server from evaluating CEL rules.
func blocking(errs field.ErrorList) bool {
	return slices.ContainsFunc(errs, func(err *field.Error) bool {
		return slices.Contains([]field.ErrorType{
			field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong,
			field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid,
		}, err.Type)
	})
}

// answers returns a paragraph for each document of input: its name, and the API server's answer.
func answers(t *testing.T, servers map[string]server, input []byte) string {
	t.Helper()
	var out strings.Builder
	decoder := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(input)))
	for {
		doc, err := decoder.Read()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatalf("reading input.yaml: %v", err)
		}
		document, err := yaml.YAMLToJSON(doc)
		if err != nil {
			t.Fatalf("decoding input.yaml: %v", err)
		}
		var obj unstructured.Unstructured
		if err := json.Unmarshal(document, &obj.Object); err != nil {
			t.Fatalf("decoding input.yaml: %v", err)
		}
		s, served := servers[obj.GetKind()]
		if !served || obj.GetAPIVersion() != v1alpha1.GroupVersion.String() {
			t.Fatalf("input.yaml: no CRD serves %s of %s", obj.GetKind(), obj.GetAPIVersion())
		}
		words := s.judge(&obj)
		if len(words) == 0 {
			words = []string{"accepted"}
		}
		fmt.Fprintf(&out, "%s: %s\n", obj.GetName(), strings.Join(words, "\n\t"))
	}
}
