package audit

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/controller/kube"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/rules/packs"
	"gatehouse/translator"
)

// documents are the objects of a stream of YAML, in their Go types.
func documents(t *testing.T, text []byte) (objects []translator.Object) {
	t.Helper()
	scheme := kube.NewScheme()
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal(document, &head); err != nil {
			t.Fatal(err)
		}
		object, err := scheme.New(schema.FromAPIVersionAndKind(head.APIVersion, head.Kind))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(document, object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object.(translator.Object))
	}
	return objects
}

// TestPacksJudgeWhatIsStored: all rules of all packs can be evaluated for the cluster of their tests, and find what is
// wrong with a route there, at this route.
func TestPacksJudgeWhatIsStored(t *testing.T) {
	f := newOffice(t, Options{})
	text, err := os.ReadFile("../../policies/rules/packs/cluster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f.store(documents(t, text)...)
	open := route("shop", "open", 1, "www.example.com")
	open.Spec.ParentRefs = []gwapiv1.ParentReference{{
		Name: "outside", Namespace: ptr.To(gwapiv1.Namespace("infra")), SectionName: ptr.To(gwapiv1.SectionName("http")),
	}}
	open.Spec.Rules[0].BackendRefs = []gwapiv1.HTTPBackendRef{{BackendRef: gwapiv1.BackendRef{
		BackendObjectReference: gwapiv1.BackendObjectReference{Name: "cart", Port: ptr.To(gwapiv1.PortNumber(8080))},
	}}}
	f.store(open)
	var names []string
	for _, pack := range packs.Names() {
		folder, _ := packs.Open(pack)
		files, err := fs.Glob(folder, "*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := fs.ReadFile(folder, file)
			source := &rulesv1alpha1.AdmissionRule{}
			if err != nil || yaml.Unmarshal(text, source) != nil || source.Kind != rulesv1alpha1.KindAdmissionRule {
				continue // It has tests.
			}
			compiled, problems, err := admissionrule.Compile(t.Context(), source, nil)
			if err != nil || compiled == nil {
				t.Fatal(err, problems)
			}
			f.PutRule(source, compiled)
			names = append(names, source.Name)
		}
	}
	f.lead(true)
	f.work()
	wrong := map[string]int{}
	for _, name := range names {
		results, known := f.Results(name)
		if !known || results.Failed > 0 {
			t.Errorf("rule %s: %s", name, f.says(name))
			continue
		}
		for _, v := range results.First {
			wrong[fmt.Sprintf("%s of %s %s/%s", name, v.Kind, v.Namespace, v.Name)]++
		}
	}
	for _, name := range []string{"authentication-required", "tls-baseline", "rate-limits-on-public-routes", "hostname-ownership"} {
		if wrong[name+" of HTTPRoute shop/open"] != 1 {
			t.Errorf("rule %s does not find the open route once: %v", name, wrong)
		}
	}
	if len(names) < 9 {
		t.Errorf("only rules %v", names)
	}
}
