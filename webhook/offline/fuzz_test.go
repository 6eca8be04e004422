package offline

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"gatehouse/controller/kube"
	"gatehouse/policies/rules"
	"gatehouse/translator"
	"gatehouse/webhook"
)

// FuzzFiles: whatever stands in a file, the review ends, and each finding is at a place in the file.
func FuzzFiles(f *testing.F) {
	aliases := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 12 { // Each level is ten times as large as the one before.
		aliases += fmt.Sprintf("%[2]c: &%[2]c [*%[1]c, *%[1]c, *%[1]c, *%[1]c, *%[1]c, *%[1]c, *%[1]c, *%[1]c, *%[1]c, *%[1]c]\n", 'a'+i, 'b'+i)
	}
	for _, seed := range []string{
		aliases, strings.Repeat("[", 20_000), strings.Repeat("{a: ", 20_000), "kind: \xff\xfe\n",
		"---\n---\n", "# none\n", "a: &a [*a]\n",
		"kind: List\napiVersion: v1\nitems: [{kind: List, apiVersion: v1, items: [1]}]\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: 1\n",
		"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec: {rules: [{matchs: []}]}\n",
		"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec: &s {parentRefs: [{name: b}]}\n--- \n\ufeffkind: é\n",
		"{\"apiVersion\": \"gateway.envoyproxy.io/v1alpha1\", \"kind\": \"SecurityPolicy\", \"metadata\": {\"name\": \"a\"}, \"spec\": {\"targetRefs\": [{\"name\": \"b\"}]}}",
	} {
		f.Add([]byte(seed))
	}
	engine, err := rules.Builtin()
	if err != nil {
		f.Fatal(err)
	}
	scheme := kube.NewScheme()
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) == 0 {
			return // Empty input is an error.
		}
		world := translator.NewWorld(translator.NewTables(translator.Settings{ControllerName: "example.com/gatehouse"},
			engine))
		r, err := Files(Options{Scheme: scheme, World: world, Namespace: "default", Level: webhook.LevelEnforce},
			[]string{"-"}, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(text, []byte("\n")) + 1
		for _, found := range r.Findings {
			if found.File != "stdin" || found.Line < 1 || found.Line > lines || found.Message == "" {
				t.Errorf("a finding is at %s:%d of %d lines: %q", found.File, found.Line, lines, found.Message)
			}
		}
	})
}
