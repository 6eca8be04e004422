package ruletest

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"

	"gatehouse/policies/admissionrule"
	"gatehouse/policies/verdict"
	"gatehouse/webhook"
	"gatehouse/webhook/offline"
)

// TestCheckAndAdmissionAgree: what check finds at an object, admission says of its creation if all others are there
// already. And if admission denies the creation of an object for what takes effect, check finds that somewhere.
func TestCheckAndAdmissionAgree(t *testing.T) {
	const golden = "../../cmd/gatehouse/testdata/rules-effective.txtar"
	archive, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	folder, o := t.TempDir(), options(t)
	var runs []string
	for _, f := range archive.Files {
		if line, ok := strings.CutPrefix(f.Name, "gatehouse check --rules "); ok {
			runs = append(runs, line)
			continue
		}
		path := filepath.Join(folder, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
	compared := 0
	for _, run := range runs {
		words := strings.Fields(run)
		compared += o.compare(t, words[0], words[1:])
	}
	if compared < 6 {
		t.Errorf("%d findings were compared", compared)
	}
}

// compare compares what both say about the objects of files, and counts what check finds.
func (o Options) compare(t *testing.T, rules string, files []string) (count int) {
	t.Helper()
	review, err := offline.Files(offline.Options{
		CRDs: o.CRDs, Scheme: o.Scheme, World: o.NewWorld(), Rules: []string{rules}, Namespace: "default", Level: webhook.LevelOff,
	}, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]map[string]bool{}
	anywhere, denied := map[string]bool{}, map[string]bool{}
	for _, f := range review.Findings {
		if f.Rule != "" {
			if found[f.Object.String()] == nil {
				found[f.Object.String()] = map[string]bool{}
			}
			found[f.Object.String()][f.Message] = true
			anywhere[f.Rule] = true
			denied[f.Rule] = denied[f.Rule] || f.Denied
			count++
		}
	}
	platform, err := offline.ReadPlatform(o.CRDs, []string{rules})
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, files)
	for i := range all {
		others := slices.Delete(slices.Clone(all), i, i+1)
		cluster, err := platform.Stored(offline.Options{
			CRDs: o.CRDs, Scheme: o.Scheme, World: o.NewWorld(), Namespace: "default", Level: webhook.LevelOff,
		}, nil, others)
		if err != nil {
			t.Fatal(err)
		}
		object, err := offline.Values(all[i])
		if err != nil {
			t.Fatal(err)
		}
		name, said := nameOf(object), map[string]bool{}
		findings, err := cluster.Judge(t.Context(), offline.Request{Object: object})
		if err != nil {
			t.Fatal(err)
		}
		for j := range findings {
			said[findings[j].Words()] = true
			// Admission is not asked whether a Service or a Namespace may be created.
			if created(object) && !anywhere[findings[j].Rule] {
				t.Errorf("%v: admission says of %s: %s, and check nothing", files, name, findings[j].Words())
			}
			if created(object) && findings[j].Denies() && !denied[findings[j].Rule] {
				t.Errorf("%v: admission denies %s: %s, and check denies nothing", files, name, findings[j].Words())
			}
		}
		for message := range found[name] {
			if !said[message] {
				t.Errorf("%v: check says of %s: %s, and admission %v", files, name, message, slices.Collect(maps.Keys(said)))
			}
		}
	}
	return count
}

func nameOf(object map[string]any) string {
	o := unstructured.Unstructured{Object: object}
	return verdict.Ref{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}.String()
}

func created(object map[string]any) bool {
	resource, known := admissionrule.ResourceOf((&unstructured.Unstructured{Object: object}).GroupVersionKind().GroupKind())
	return known && !resource.Unborn
}

// objects are those of files in JSON.
func objects(t *testing.T, files []string) (all Stored) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			object, err := sigsyaml.YAMLToJSON([]byte(document))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, object)
		}
	}
	return all
}
