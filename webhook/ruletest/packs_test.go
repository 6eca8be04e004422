package ruletest

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"gatehouse/api/config"
	"gatehouse/api/crdtest"
	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/controller/kube"
	"gatehouse/policies/admissionrule"
	"gatehouse/policies/effective"
	"gatehouse/policies/rules"
	"gatehouse/policies/rules/packs"
	"gatehouse/translator"
)

// TestPacks runs the tests of each pack, of which each has some.
func TestPacks(t *testing.T) {
	o := options(t)
	for _, pack := range packs.Names() {
		t.Run(pack, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("../../policies/rules/packs", pack, "*_test.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("the pack has no tests: %v", err)
			}
			for _, file := range files {
				var out strings.Builder
				result, err := o.Run(t.Context(), file, &out)
				if err != nil || result.Failed > 0 || result.Passed < 2 {
					t.Errorf("%v\n%s", err, out.String())
				}
			}
		})
	}
}

// options are those of the command, with the CRDs of Gateway API from its module.
func options(t *testing.T) Options {
	t.Helper()
	crds, err := crdtest.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	tables := translator.NewTables(translator.Settings{ControllerName: config.Default().Gateway.ControllerName}, engine)
	return Options{
		CRDs: crds, Scheme: kube.NewScheme(), NewWorld: func() *translator.World { return translator.NewWorld(tables) },
	}
}

// TestTLSBaselineRefusesOldVersions: no field of Gatehouse asks for TLS older than 1.2 yet, so this is what the rule says of a
// listener that would speak it.
func TestTLSBaselineRefusesOldVersions(t *testing.T) {
	pack, _ := packs.Open("tls-baseline")
	text, err := fs.ReadFile(pack, "rule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	source := &rulesv1alpha1.AdmissionRule{}
	if err := yaml.UnmarshalStrict(text, source); err != nil {
		t.Fatal(err)
	}
	rule, problems, err := admissionrule.Compile(t.Context(), source, nil)
	if err != nil || rule == nil {
		t.Fatal(problems, err)
	}
	for version, want := range map[string]string{
		"1.0": "TLS older than 1.2 would be spoken by listener https of Gateway eg", "1.1": "TLS older than 1.2", "1.2": "", "1.3": "",
	} {
		after := &effective.Configuration{Listeners: []*effective.Listener{{Entry: effective.Entry{
			Name: "https", Gateway: effective.Gateway{Name: "eg"}, TLS: &effective.TLS{Mode: "Terminate", MinVersion: version},
		}}}}
		effects, err := admissionrule.NewEffects(nil, after)
		if err != nil {
			t.Fatal(err)
		}
		in := &admissionrule.Input{
			Request: &admissionv1.AdmissionRequest{Operation: admissionv1.Create}, Object: map[string]any{},
			Effects: func() (*admissionrule.Effects, error) { return effects, nil },
		}
		in.Resource, _ = admissionrule.ResourceOf(schema.GroupKind{Group: "gateway.networking.k8s.io", Kind: "Gateway"})
		found, err := rule.Judge(t.Context(), in)
		if err != nil || len(found) > 1 || (len(found) == 1) != (want != "") || len(found) == 1 && !strings.Contains(found[0].Message, want) {
			t.Errorf("TLS %s: %v, %v, want %q", version, found, err, want)
		}
	}
}
