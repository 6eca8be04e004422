package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	admissionv1 "k8s.io/api/admission/v1"
)

// requestFor is the text of a review of an object, which need not be JSON.
func requestFor(operation, kind, object string) []byte {
	field := "object"
	if operation == "DELETE" {
		field = "oldObject"
	}
	return fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","operation":%q,
"namespace":"default","name":"r","kind":{"group":"gateway.networking.k8s.io","version":"v1","kind":%q},%q:%s}}`,
		operation, kind, field, object)
}

// hostile are reviews that no API server sends, or only of objects that somebody wrote to do harm.
func hostile() map[string][]byte {
	object := func(spec string) string {
		return `{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"r","namespace":"default"},"spec":` +
			spec + `}`
	}
	var hosts []string
	for i := range 10_000 {
		hosts = append(hosts, fmt.Sprintf(`"h%d.example.com"`, i))
	}
	rules := func(expression string) string {
		var all []string
		for i := range 64 {
			all = append(all, fmt.Sprintf(`{"matches":[{"path":{"type":"RegularExpression","value":"/%d%s"}}]}`, i, expression))
		}
		return `{"parentRefs":[{"name":"eg"}],"rules":[` + strings.Join(all, ",") + `]}`
	}
	return map[string][]byte{
		"invalid expressions":   requestFor("CREATE", "HTTPRoute", object(rules("((((a{1,9}){1,9}){1,9}){1,9}b)*"))),
		"large expressions":     requestFor("CREATE", "HTTPRoute", object(rules("(abcdefghij){1000}"))),
		"expensive expressions": requestFor("CREATE", "HTTPRoute", object(rules("(ab){1000}"))),
		"nothing":               nil,
		"no review":             []byte(`[]`),
		"cut off":               requestFor("CREATE", "HTTPRoute", `{"spec":`),
		"invalid UTF-8":         requestFor("CREATE", "HTTPRoute", object("{\"hostnames\":[\"\xff\xfe\"]}")),
		"deep nesting":          requestFor("CREATE", "HTTPRoute", object(strings.Repeat(`{"a":`, 50_000)+"1"+strings.Repeat("}", 50_000))),
		"3 MiB":                 requestFor("CREATE", "HTTPRoute", object(`{"parentRefs":[{"name":"eg"}],"hostnames":["`+strings.Repeat("a", 3<<20)+`"]}`)),
		"10,000 hostnames":      requestFor("CREATE", "HTTPRoute", object(`{"hostnames":[`+strings.Join(hosts, ",")+`]}`)),
		"another kind":          requestFor("CREATE", "Gateway", object(`{"hostnames":[]}`)),
		"a wrong type":          requestFor("CREATE", "HTTPRoute", object(`{"rules":{"matches":1}}`)),
		"deleted nothing":       requestFor("DELETE", "Gateway", `null`),
		"deleted nonsense":      requestFor("DELETE", "Gateway", object(`{"rules":{"matches":1}}`)),
	}
}

// FuzzHandler sends any body to the server. Every answer is a verdict that the API server accepts, or one of the codes
// that it treats as a failure, with a text that says why; and the server still answers afterwards.
func FuzzHandler(f *testing.F) {
	changes, deletions := newWorlds(f, []byte(tables))
	log := funcr.New(func(string, string) {}, funcr.Options{}) // The fuzzer allows no log of its own while it runs.
	s := serve(f, Options{Trier: changes, Deletions: deletions, Log: log})
	for _, body := range hostile() {
		f.Add(body)
	}
	f.Add(requestFor("UPDATE", "HTTPRoute", `{"metadata":{"name":"r"}}`))
	failures := []int{http.StatusBadRequest, http.StatusTooManyRequests, http.StatusInternalServerError}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{ValidatePath, MutatePath} {
			code, text := s.send(t, path, body)
			if slices.Contains(failures, code) && len(text) > 0 {
				continue
			}
			answer := &admissionv1.AdmissionReview{}
			if err := json.Unmarshal(text, answer); code != http.StatusOK || err != nil || answer.Response == nil {
				t.Errorf("%s: %d %s, %v", path, code, text, err)
			}
		}
	})
}

// TestHostile checks what such reviews are answered in time: those that can be read get a verdict, others an error, and
// deletions are always allowed. None takes much more memory than its text.
func TestHostile(t *testing.T) {
	changes, deletions := newWorlds(t, []byte(tables))
	s := serve(t, Options{Trier: changes, Deletions: deletions})
	want := map[string]string{
		"nothing":               "400 the request is not an AdmissionReview",
		"no review":             "400 the request is not an AdmissionReview",
		"cut off":               "400 the request is not an AdmissionReview",
		"invalid UTF-8":         `200 "response"`,
		"deep nesting":          "400 the request is not an AdmissionReview",
		"3 MiB":                 `200 "allowed":true`,
		"10,000 hostnames":      `200 "allowed":true`,
		"invalid expressions":   "200 is not valid RE2",
		"large expressions":     "200 needs a program of",
		"expensive expressions": `200 "allowed":true`,
		"another kind":          `200 no GatewayClass`,
		"a wrong type":          "500 ",
		"deleted nothing":       `200 "allowed":true`,
		"deleted nonsense":      `200 "allowed":true`,
	}
	for name, body := range hostile() {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			code, text := s.send(t, ValidatePath, body)
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 128<<20+64*uint64(len(body)) {
				t.Errorf("%d bytes were allocated for a review of %d", took, len(body))
			}
			got := fmt.Sprint(code, " ", string(text))
			begin, part, _ := strings.Cut(want[name], " ")
			if !strings.HasPrefix(got, begin) || !strings.Contains(got, part) {
				t.Errorf("got %.600s, want %s", got, want[name])
			}
		})
	}
}
