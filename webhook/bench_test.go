package webhook

import (
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
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
