package webhook

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/policies/rules/packs"
	"gatehouse/translator"
)

// BenchmarkDenied measures a denied route with many routes on the Gateway, from the request to the verdict, over TLS.
func BenchmarkDenied(b *testing.B) {
	const route = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%d, namespace: default}
spec:
  parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: eg}]
  hostnames: [r%d.example.com]
  rules: [{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{group: "", kind: Service, name: echo, port: 3000}]}]
`
	for _, routes := range []int{10, 1000} {
		b.Run(fmt.Sprint(routes, " routes"), func(b *testing.B) {
			documents := []string{tables}
			for i := range routes {
				documents = append(documents, fmt.Sprintf(route, i, i))
			}
			s := serve(b, Options{Trier: newWorld(b, []byte(strings.Join(documents, "---\n")))})
			in := review(nil)
			in.Request = httpRoute()
			in.Request.Operation = admissionv1.Create
			in.Request.Object.Raw = []byte(`{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"r","namespace":"default"},
"spec":{"parentRefs":[{"group":"gateway.networking.k8s.io","kind":"Gateway","name":"eg"}],"rules":[{"matches":[{"path":{"type":"RegularExpression","value":"("}}]}]}}`)
			for b.Loop() {
				if _, body := s.send(b, ValidatePath, in); !strings.Contains(string(body), `"allowed":false`) {
					b.Fatalf("%s", body)
				}
			}
		})
	}
}

// BenchmarkPacks measures the update of a route, from the request to the verdict, over TLS: without a rule, and with the
// rules of all packs, where the route complies with nearly all of them and where it has long violated most.
func BenchmarkPacks(b *testing.B) {
	cluster, err := os.ReadFile("../policies/rules/packs/cluster.yaml")
	if err != nil {
		b.Fatal(err)
	}
	const route = `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"cart","namespace":"shop"},
"spec":{"parentRefs":[{"name":"%s","namespace":"infra","sectionName":"http"}],"hostnames":["cart.shop.example.com"],
"rules":[{"matches":[{"path":{"value":"%s"}}],"backendRefs":[{"name":"cart","port":8080}]}]}}`
	for _, of := range []struct {
		name, gateway string
		rules         bool
	}{{"no rule", "inside", false}, {"complies", "inside", true}, {"violates", "outside", true}} {
		b.Run(of.name, func(b *testing.B) {
			world := newTables(b, cluster)
			changes, deletions := triers(b, world)
			book := NewRuleBook(RuleOptions{Namespaces: stored([]translator.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: "shop", Annotations: map[string]string{"gatehouse.dev/hostnames": "*.shop.example.com"},
			}}})})
			if of.rules {
				for _, r := range allPacks(b) {
					book.Put(r)
				}
			}
			s := serve(b, Options{Trier: changes, Deletions: deletions, Effective: world.TryEffective, Rules: book})
			in := review(nil)
			in.Request = httpRoute()
			in.Request.Namespace, in.Request.Name, in.Request.Operation = "shop", "cart", admissionv1.Update
			in.Request.OldObject.Raw = fmt.Appendf(nil, route, of.gateway, "/old")
			learn(b, world, in.Request.OldObject.Raw)
			for i := 0; b.Loop(); i++ {
				in.Request.Object.Raw = fmt.Appendf(nil, route, of.gateway, fmt.Sprint("/new", i))
				if _, body := s.send(b, ValidatePath, in); !strings.Contains(string(body), `"allowed":true`) {
					b.Fatalf("%s", body)
				}
			}
		})
	}
}

func allPacks(b *testing.B) (all []*rulesv1alpha1.AdmissionRule) {
	b.Helper()
	for _, name := range packs.Names() {
		folder, _ := packs.Open(name)
		files, err := fs.Glob(folder, "*.yaml")
		if err != nil {
			b.Fatal(err)
		}
		for _, file := range files {
			text, err := fs.ReadFile(folder, file)
			rule := &rulesv1alpha1.AdmissionRule{}
			if err == nil {
				err = yaml.Unmarshal(text, rule)
			}
			if err != nil {
				b.Fatal(err)
			}
			if rule.Kind == rulesv1alpha1.KindAdmissionRule { // The others are tests.
				rule.Spec.Severity = rulesv1alpha1.SeverityAudit
				all = append(all, rule)
			}
		}
	}
	return all
}
