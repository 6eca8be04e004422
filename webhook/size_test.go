package webhook

import (
	"context"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"gatehouse/api/v1alpha1"
	"gatehouse/controller/kube"
	"gatehouse/translator"
)

// TestForgedRoute: a list that exceeds the schemas is not tried.
func TestForgedRoute(t *testing.T) {
	tried := false
	s := serve(t, Options{Trier: TrierFunc(func(context.Context, client.Object) ([]translator.Finding, error) {
		tried = true
		return nil, nil
	})})
	const kind, route = `{"group":"gateway.networking.k8s.io","version":"v1","kind":"HTTPRoute"}`,
		`{"metadata":{"name":"r"},"spec":{"rules":LIST}}`
	list := func(item string) string { return "[" + strings.Repeat(item+",", maxEntries-1) + item + "]" }
	wide := `{"matches":` + list(`{"headers":`+list("{}")+`}`) + `}`
	for want, spec := range map[string][]byte{
		"spec has a list of 1281 objects": listOf(20*maxEntries*len("{},"), reviewOf(kind, route), "{}"),
		"spec has a list of 641 objects":  listOf(10*maxEntries*len("null,"), reviewOf(kind, route), "null"),
		"spec has lists of 41610 objects": listOf(10*len(wide), reviewOf(kind, route), wide),
	} {
		code, answer := s.send(t, ValidatePath, spec)
		if code != http.StatusBadRequest || tried || !strings.Contains(string(answer), want) {
			t.Errorf("status %d: %s, want %q", code, answer, want)
		}
	}
	texts, objects := []any{"a", "b"}, []any{map[string]any{}, map[string]any{}}
	spec := map[string]any{"rules": []any{map[string]any{"names": texts, "matchExpressions": objects, "matches": objects}}}
	if got := entriesOf(spec); got != (entryCount{2, 3}) {
		t.Errorf("the lists have %+v, although texts and selectors do not count", got)
	}
}

// allocated is the memory that the whole process allocates while do runs.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// listOf replaces LIST by a list of items that fills size bytes.
func listOf(size int, text, item string) []byte {
	return []byte(strings.Replace(text, "LIST", "["+strings.Repeat(item+",", size/(len(item)+1))+item+"]", 1))
}

// reviewOf is the review of an object.
func reviewOf(kind, object string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":"CREATE","kind":` + kind + `,"object":` + object + `}}`
}

const (
	envoyProxyKind = `{"group":"gateway.envoyproxy.io","version":"v1alpha1","kind":"EnvoyProxy"}`
	envoyProxy     = `{"apiVersion":"gateway.envoyproxy.io/v1alpha1","kind":"EnvoyProxy","metadata":{"name":"p"},` +
		`"spec":{"provider":{"type":"Kubernetes","kubernetes":{"envoyDeployment":{"initContainers":LIST}}}}}`
)

// TestManySmallThings: a text that would take far more memory than its size is rejected before it is decoded.
func TestManySmallThings(t *testing.T) {
	s := serve(t, Options{Trier: says()})
	const size = maxRequest - 1<<10
	for name, body := range map[string][]byte{
		"containers":    listOf(size, reviewOf(envoyProxyKind, envoyProxy), "{}"),
		"no containers": listOf(size, reviewOf(envoyProxyKind, envoyProxy), "null"),
		"maps":          listOf(size, reviewOf(envoyProxyKind, envoyProxy), `{"":0}`),
		"groups": listOf(size,
			`{"apiVersion":"admission.k8s.io/v1","request":{"uid":"u1","userInfo":{"groups":LIST}}}`, `""`),
		"one object": listOf(5*(1<<18), reviewOf(envoyProxyKind, envoyProxy), "null"),
	} {
		t.Run(name, func(t *testing.T) {
			var code int
			var answer []byte
			took := allocated(func() { code, answer = s.send(t, ValidatePath, body) })
			if code != http.StatusBadRequest || !strings.Contains(string(answer),
				"fields and items of lists, of which at most") {
				t.Errorf("status %d: %s", code, answer)
			}
			if took > 64<<20 {
				t.Errorf("%d MiB were allocated to refuse it", took>>20)
			}
		})
	}
}

// TestLargestObjects: objects of the size that etcd accepts are judged, and so is the change of one such object into
// another.
func TestLargestObjects(t *testing.T) {
	s := serve(t, Options{TimeLimit: time.Minute, Trier: says()})
	largest := func(value string) []byte {
		return listOf(3<<19, strings.Replace(envoyProxy, "initContainers", "container\":{\"env", 1)+"}",
			`{"name":"AB","value":"`+value+`"}`)
	}
	request := create(metav1.GroupVersionKind{Group: v1alpha1.GroupName, Version: "v1alpha1", Kind: "EnvoyProxy"},
		"default", string(largest("1")))
	request.Operation, request.OldObject.Raw = admissionv1.Update, largest("2")
	if count := tokens(request.Object.Raw); count < maxTokens/2 {
		t.Errorf("the object has %d tokens only", count)
	}
	s.post(t, ValidatePath, request)
}

// TestElementSizes checks the memory of one entry of a list or map, or of the target of a pointer, in the kinds that
// may be decoded.
func TestElementSizes(t *testing.T) {
	limits := map[reflect.Kind]uintptr{reflect.Slice: 512, reflect.Map: 512, reflect.Pointer: 1024}
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(r reflect.Type) {
		if seen[r] {
			return
		}
		seen[r] = true
		if r.Kind() == reflect.Struct {
			for i := range r.NumField() {
				visit(r.Field(i).Type)
			}
		}
		if limit, ok := limits[r.Kind()]; ok {
			if size := r.Elem().Size(); size > limit {
				t.Errorf("one of %s takes %d bytes, want at most %d", r, size, limit)
			}
			visit(r.Elem())
		}
	}
	for _, kind := range kube.NewScheme().AllKnownTypes() {
		if _, ok := reflect.New(kind).Interface().(client.Object); ok {
			visit(kind)
		}
	}
}
