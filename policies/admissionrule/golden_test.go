package admissionrule

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/labels"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"gatehouse/api/patching"
	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// TestGoldens compiles the rule of each golden (rule.yaml), and evaluates it for its objects. An object is in a file
// NAME.yaml; if there is also NAME.stored.yaml, it is an update of that object. Namespaces, ConfigMaps and exceptions
// are in cluster.yaml. It is the first of January 2026. answers.txt has what the rule says.
func TestGoldens(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no goldens found: %v", err)
	}
	schemas := crds(t)
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(bytes.TrimSpace(archive.Comment)) == 0 {
				t.Error("the golden begins without a paragraph that tells users what is promised")
			}
			got := answers(t, archive, schemas)
			at := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "answers.txt" })
			if at < 0 {
				t.Fatal("the golden holds no answers.txt")
			}
			if *update {
				archive.Files[at].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[at].Data), got); diff != "" {
				t.Errorf("the answers are others (-want +got):\n%s", diff)
			}
		})
	}
}

func answers(t *testing.T, archive *txtar.Archive, schemas Schemas) string {
	t.Helper()
	var b strings.Builder
	source := &rulesv1alpha1.AdmissionRule{}
	if err := yaml.UnmarshalStrict(part(archive, "rule.yaml"), source); err != nil {
		t.Fatal(err)
	}
	rule, problems, err := Compile(t.Context(), source, schemas)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		fmt.Fprintf(&b, "%s: %s\n", p.Weight, p)
	}
	if Refused(problems) {
		return b.String() + "the rule is refused\n"
	}
	around := stored(t, part(archive, "cluster.yaml"), func(name string) *rulesv1alpha1.AdmissionRule {
		if name == source.Name {
			return source
		}
		return nil
	})
	for _, p := range around.problems {
		b.WriteString(p)
	}
	for _, f := range archive.Files {
		name, ok := strings.CutSuffix(f.Name, ".yaml")
		if !ok || slices.Contains([]string{"rule", "cluster"}, name) || strings.HasSuffix(name, ".stored") {
			continue
		}
		in := around.input(t, f.Data, part(archive, name+".stored.yaml"))
		in.Form = formOf(in, schemas)
		fmt.Fprintf(&b, "# %s\n%s", name, said(t, rule, in))
	}
	return b.String()
}

func said(t *testing.T, rule *Rule, in *Input) string {
	t.Helper()
	var b strings.Builder
	mutated, err := Mutate(t.Context(), []*Rule{rule}, in)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range mutated.Changes {
		fmt.Fprintf(&b, "mutated, %s\n", change.Made())
	}
	judged := in.with(mutated.Object)
	if again, err := Mutate(t.Context(), []*Rule{rule}, judged); err != nil || len(again.Changes) > 0 {
		t.Errorf("it changes more the second time: %v, %v", again, err)
	}
	findings, err := rule.Judge(t.Context(), judged)
	if err != nil {
		t.Fatal(err)
	}
	findings = append(mutated.Findings, findings...)
	for _, f := range findings {
		outcome := string(f.Severity)
		switch {
		case f.EndsSoon:
			outcome = "excepted, but not for long, from " + outcome
		case f.Excepted:
			outcome = "excepted from " + outcome
		case f.Before:
			outcome = "as before, so no longer " + outcome
		}
		fmt.Fprintf(&b, "%s, %s: %s\n", outcome, f.Reason, f.Problem)
	}
	if b.Len() == 0 {
		return "fine\n"
	}
	return b.String()
}

// formOf is the form of the kind of the object, in its version.
func formOf(in *Input, schemas Schemas) func() (*Form, error) {
	version, _ := in.Object["apiVersion"].(string)
	kind := runtimeschema.FromAPIVersionAndKind(version, in.Resource.Kind)
	return func() (*Form, error) {
		known := schemas(kind)
		if known == nil {
			return nil, nil
		}
		return NewForm(kind, known)
	}
}

func part(archive *txtar.Archive, name string) []byte {
	for _, f := range archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

// cluster is what is stored beside the objects.
type cluster struct {
	namespaces map[string]*corev1.Namespace
	configs    []*corev1.ConfigMap
	exceptions []*Exception
	// problems are those of the exceptions.
	problems []string
}

var today = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func stored(t *testing.T, text []byte, find func(string) *rulesv1alpha1.AdmissionRule) *cluster {
	t.Helper()
	c := &cluster{namespaces: map[string]*corev1.Namespace{}}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		kind := struct{ Kind string }{}
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "Namespace":
			ns := &corev1.Namespace{}
			if err := yaml.UnmarshalStrict([]byte(document), ns); err != nil {
				t.Fatal(err)
			}
			c.namespaces[ns.Name] = ns
		case "ConfigMap":
			config := &corev1.ConfigMap{}
			if err := yaml.UnmarshalStrict([]byte(document), config); err != nil {
				t.Fatal(err)
			}
			c.configs = append(c.configs, config)
		case "AdmissionException":
			source := &rulesv1alpha1.AdmissionException{}
			if err := yaml.UnmarshalStrict([]byte(document), source); err != nil {
				t.Fatal(err)
			}
			e, problems := NewException(source)
			problems = append(problems, e.Problems(find, today)...)
			c.exceptions = append(c.exceptions, e)
			for _, p := range problems {
				c.problems = append(c.problems, fmt.Sprintf("%s: AdmissionException %s: %s\n", p.Weight, source.Name, p))
			}
		}
	}
	return c
}

func (c *cluster) params(namespace, name string, selector labels.Selector) (found []*corev1.ConfigMap, _ error) {
	for _, config := range c.configs {
		if config.Namespace == namespace && (config.Name == name || name == "" && selector.Matches(labels.Set(config.Labels))) {
			found = append(found, config)
		}
	}
	return found, nil
}

func (c *cluster) input(t *testing.T, object, old []byte) *Input {
	t.Helper()
	in := &Input{
		Object: values(t, object), Patch: patching.Patch, Params: c.params, Now: today,
		Exceptions: func(string) []*Exception { return c.exceptions },
	}
	operation := admissionv1.Create
	if len(old) > 0 {
		in.OldObject, operation = values(t, old), admissionv1.Update
	}
	metadata, _ := in.Object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	version, _ := in.Object["apiVersion"].(string)
	kind, _ := in.Object["kind"].(string)
	var known bool
	if in.Resource, known = ResourceOf(runtimeschema.FromAPIVersionAndKind(version, kind).GroupKind()); !known {
		t.Fatalf("%s %s is no kind that rules can be about", version, kind)
	}
	in.Request = &admissionv1.AdmissionRequest{Operation: operation, Name: name, Namespace: namespace}
	in.Request.UserInfo.Username = "jane"
	if namespace != "" {
		in.Namespace = c.namespaces[namespace]
		if in.Namespace == nil {
			in.Namespace = &corev1.Namespace{}
			in.Namespace.Name = namespace
		}
	}
	return in
}

func values(t testing.TB, text []byte) map[string]any {
	t.Helper()
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := utiljson.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// crds returns the schemas of the generated CRDs, and of those of Gateway API. A kind without a file has no schema.
func crds(t testing.TB) Schemas {
	t.Helper()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, pattern := range []string{
		"../../manifests/gatehouse-crds/files/*.yaml",
		filepath.Join(strings.TrimSpace(string(module)), "config/crd/standard/gateway.networking.k8s.io_*.yaml"),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no CRDs in %s: %v", pattern, err)
		}
		names = append(names, found...)
	}
	found := map[runtimeschema.GroupVersionKind]*schema.Structural{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, crd); err != nil {
			t.Fatal(err)
		}
		for _, v := range crd.Spec.Versions {
			internal := &apiextensions.JSONSchemaProps{}
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema,
				internal, nil); err != nil {
				t.Fatal(err)
			}
			kind := runtimeschema.GroupVersionKind{Group: crd.Spec.Group, Version: v.Name, Kind: crd.Spec.Names.Kind}
			if found[kind], err = schema.NewStructural(internal); err != nil {
				t.Fatal(err)
			}
		}
	}
	return func(kind runtimeschema.GroupVersionKind) *schema.Structural { return found[kind] }
}
