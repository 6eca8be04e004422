package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

func create(kind metav1.GroupVersionKind, namespace, object string) *admissionv1.AdmissionRequest {
	r := &admissionv1.AdmissionRequest{
		UID: "u1", Kind: kind, Namespace: namespace, Name: "r",
		Operation: admissionv1.Create,
	}
	r.Object.Raw = []byte(object)
	return r
}

func httpRoute() *admissionv1.AdmissionRequest {
	return create(metav1.GroupVersionKind{Group: gwapiv1.GroupName, Version: "v1", Kind: "HTTPRoute"}, "default",
		`{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"r"},"spec":{}}`)
}

// says is a Trier with fixed findings.
func says(findings ...translator.Finding) TrierFunc {
	return func(context.Context, client.Object) ([]translator.Finding, error) { return findings, nil }
}

var own = verdict.Ref{Group: gwapiv1.GroupName, Kind: "HTTPRoute", Namespace: "default", Name: "r"}

// TestNoVerdict checks that the failurePolicy decides if the webhook cannot judge: the status is not 200, and the text
// says what to do.
func TestNoVerdict(t *testing.T) {
	fine := review(nil)
	fine.Request = httpRoute()
	unknown := review(nil)
	unknown.Request = create(metav1.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Room"}, "",
		`{"apiVersion":"example.com/v1","kind":"Room"}`)
	nonsense := review(nil)
	nonsense.Request = create(fine.Request.Kind, "default", `"text"`)
	tests := map[string]struct {
		trier TrierFunc
		path  string
		body  any
		code  int
		want  string
	}{
		"no JSON": {says(), ValidatePath, []byte("{"), 400, "the request is not an AdmissionReview"},
		"another version": {
			says(), ValidatePath, []byte(`{"apiVersion":"admission.k8s.io/v1beta1"}`), 400,
			"set admissionReviewVersions: [v1]",
		},
		"no request": {
			says(), MutatePath, []byte(`{"apiVersion":"admission.k8s.io/v1"}`), 400,
			"with a request expected",
		},
		"too long": {
			says(), ValidatePath, make([]byte, maxRequest+1), 400,
			"of which at most 7340032 bytes are taken",
		},
		"unknown kind": {says(), ValidatePath, unknown, 500, "decoding the object: no kind \"Room\""},
		"no object":    {says(), ValidatePath, nonsense, 500, "reading the object"},
		"error": {
			func(context.Context, client.Object) ([]translator.Finding, error) {
				return nil, errors.New("tables are not filled yet")
			},
			ValidatePath, fine, 500, "this HTTPRoute cannot be judged by Gatehouse now: trying the change: tables are not filled yet: try again, and if that does not help, set label gatehouse.dev/admission=off on namespace default to write without its verdict",
		},
		"panic": {
			func(context.Context, client.Object) ([]translator.Finding, error) { panic("index out of range") },
			ValidatePath, fine, 500, "a mistake in Gatehouse stopped it: index out of range",
		},
		"own time limit": {
			func(context.Context, client.Object) ([]translator.Finding, error) { select {} },
			ValidatePath, fine, 500, "no answer within 2s",
		},
		"time limit of the API server": {
			func(context.Context, client.Object) ([]translator.Finding, error) { select {} },
			ValidatePath + "?timeout=1200ms", fine, 500, "no answer within 1s",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Options{Trier: tt.trier, TimeLimit: 2 * time.Second})
			code, body := s.send(t, tt.path, tt.body)
			if code != tt.code || !strings.Contains(string(body), tt.want) {
				t.Errorf("got %d %s, want %d with %q", code, body, tt.code, tt.want)
			}
		})
	}
}

// TestRegisterRefuses checks that a server that could not answer is not registered.
func TestRegisterRefuses(t *testing.T) {
	for _, o := range []Options{{}, {Trier: says()}, {Trier: says(), Scheme: scheme}} {
		if err := Register(NewServer("", 0, nil), o); err == nil || !strings.Contains(err.Error(), ": give it ") {
			t.Errorf("Register(%+v) = %v, want an error with the way out", o, err)
		}
	}
}

// TestDrain checks that a server that has to stop completes the requests that have begun.
func TestDrain(t *testing.T) {
	begun, proceed := make(chan struct{}), make(chan struct{})
	s := serve(t, Options{Trier: TrierFunc(func(context.Context, client.Object) ([]translator.Finding, error) {
		close(begun)
		<-proceed
		return nil, nil
	})})
	answer := make(chan int, 1)
	go func() {
		in := review(nil)
		in.Request = httpRoute()
		code, _ := s.send(t, ValidatePath, in)
		answer <- code
	}()
	<-begun
	s.cancel()
	time.Sleep(50 * time.Millisecond)
	close(proceed)
	if code := <-answer; code != http.StatusOK {
		t.Errorf("got status %d, want the verdict", code)
	}
}

// TestLeaving checks that a server that is about to stop continues to answer, and that no connection with such an
// answer is used again.
func TestLeaving(t *testing.T) {
	leaving := make(chan struct{})
	s := serve(t, Options{Trier: says(), Leaving: leaving})
	s.client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	reused := func() (reused bool) {
		t.Helper()
		body, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review(nil).TypeMeta, Request: httpRoute()})
		if err != nil {
			t.Fatal(err)
		}
		ctx := httptrace.WithClientTrace(t.Context(),
			&httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused }})
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+s.address+ValidatePath, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK || response.ProtoMajor != 1 {
			t.Errorf("%s %s: %s, %v", response.Proto, response.Status, answer, err)
		}
		return reused
	}
	if reused(); !reused() {
		t.Error("a new connection for the second request already")
	}
	close(leaving)
	if !reused() {
		t.Error("the connection was closed before it could be given up")
	}
	for range 2 {
		if reused() {
			t.Error("a connection was used again after its last answer")
		}
	}
}

// TestUnconfirmed checks that there is a warning about a missing object that cannot be looked up, and that each object
// is looked up once at a time.
func TestUnconfirmed(t *testing.T) {
	asked := 0
	exists := func(context.Context, verdict.Ref) (bool, error) { asked++; return true, errors.New("forbidden") }
	missing := func(field string) translator.Finding {
		return translator.Finding{Object: own, Problem: verdict.Problem{
			Field: field, Message: "no Service x: create it", Weight: verdict.Unresolved,
			Missing: &verdict.Ref{Kind: "Service", Namespace: "default", Name: "x"},
		}}
	}
	s := serve(t, Options{Trier: says(missing("a"), missing("b"), missing("a")), Exists: exists})
	got := s.post(t, ValidatePath, httpRoute())
	want := []string{"a: no Service x: create it", "b: no Service x: create it"}
	if diff := cmp.Diff(want, got.Warnings); diff != "" || asked != 1+glances {
		t.Errorf("asked %d times (-want +got):\n%s", asked, diff)
	}
}

// TestCauses checks that clients can read a denial field by field.
func TestCauses(t *testing.T) {
	var lines []line
	for i := range maxDenials + 2 {
		lines = append(lines, line{field: fmt.Sprintf("spec.a[%d]", i), message: "bad; mend it", weight: verdict.Invalid})
	}
	status := denial(httpRoute(), lines)
	if len(status.Details.Causes) != maxDenials || !strings.HasSuffix(status.Message, "\nand 2 more") {
		t.Errorf("%d causes, message %s", len(status.Details.Causes), status.Message)
	}
	want := metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: "spec.a[1]", Message: "bad; mend it"}
	if diff := cmp.Diff(want, status.Details.Causes[1]); diff != "" {
		t.Error(diff)
	}
}

// TestFit checks that warnings stay within the limits of the API server, and keep their ends.
func TestFit(t *testing.T) {
	long := "spec.rules[0]: " + strings.Repeat("ü", 300) + ": create it"
	var all []string
	for range 40 {
		all = append(all, long)
	}
	got := fit(all)
	for _, w := range got[:len(got)-1] {
		if utf8.RuneCountInString(w) != maxWarning || !strings.HasPrefix(w, "spec.rules[0]: ü") ||
			!strings.HasSuffix(w, ": create it") {
			t.Errorf("%q is not cut well", w)
		}
	}
	if last := got[len(got)-1]; len(got) != 13 || last != "28 more warnings: see the object's status" {
		t.Errorf("%d warnings, the last is %q", len(got), last)
	}
}

// TestMetrics scrapes the metrics as Prometheus does. All kinds of others count as one, a dry run adds no problem, and
// docs/operations.md lists each metric.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	world := newTables(t, []byte(tables))
	observe := NewTrialSize(registry)
	world.OnTry(func(rows int) {
		if observe(rows); rows == 0 {
			t.Error("a trial computed nothing")
		}
	})
	slow := make(chan struct{}, 1)
	s := serve(t, Options{Metrics: registry, Trier: TrierFunc(func(ctx context.Context, o client.Object) ([]translator.Finding, error) {
		select {
		case <-slow:
			<-ctx.Done()
			return nil, ctx.Err()
		default:
			return world.Try(ctx, o)
		}
	})})
	route := func(dryRun bool) *admissionv1.AdmissionReview {
		in := review(nil)
		in.Request = httpRoute()
		in.Request.DryRun = &dryRun
		in.Request.Object.Raw = []byte(`{"metadata":{"name":"r"},"spec":{"parentRefs":[{"name":"eg"}],"rules":[
{"matches":[{"path":{"type":"RegularExpression","value":"("}}],"backendRefs":[{"name":"gone","port":80}]}]}}`)
		return in
	}
	s.send(t, ValidatePath, route(false))
	s.send(t, ValidatePath, route(true))
	s.send(t, MutatePath, route(false))
	slow <- struct{}{}
	s.send(t, ValidatePath+"?timeout=250ms", route(false))
	for _, kind := range []string{"Room", "House"} {
		in := review(nil)
		in.Request = create(metav1.GroupVersionKind{Group: "example.com", Version: "v1", Kind: kind}, "", `{"kind":"Room"}`)
		s.send(t, ValidatePath, in)
	}
	s.send(t, ValidatePath, []byte("{"))
	want := `gatehouse_admission_answers_total{answer="admitted",kind="HTTPRoute",webhook="mutate"} 1
gatehouse_admission_answers_total{answer="denied",kind="HTTPRoute",webhook="validate"} 2
gatehouse_admission_answers_total{answer="failed",kind="HTTPRoute",webhook="validate"} 1
gatehouse_admission_answers_total{answer="failed",kind="other",webhook="validate"} 3
gatehouse_admission_duration_seconds_count{webhook="mutate"} 1
gatehouse_admission_duration_seconds_count{webhook="validate"} 6
gatehouse_admission_problems_total{answer="denied",reason="UnsupportedValue"} 1
gatehouse_admission_problems_total{answer="warned",reason="BackendNotFound"} 1
gatehouse_admission_request_bytes_count{webhook="mutate"} 1
gatehouse_admission_request_bytes_count{webhook="validate"} 6
gatehouse_admission_trial_rows_count 2
gatehouse_admission_unjudged_total{cause="deadline",webhook="validate"} 1
gatehouse_admission_unjudged_total{cause="error",webhook="validate"} 2
gatehouse_admission_unjudged_total{cause="unreadable",webhook="validate"} 1
gatehouse_admission_warnings_total{webhook="mutate"} 0
gatehouse_admission_warnings_total{webhook="validate"} 2
`
	got, names := scrape(t, registry)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	documented, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(documented), "| `"+name+"` |") {
			t.Errorf("docs/operations.md does not list %s", name)
		}
	}
}

// scrape reads metrics over HTTP. It returns the lines without buckets and sums, and the names of the metrics.
func scrape(t *testing.T, registry *prometheus.Registry) (lines string, names []string) {
	t.Helper()
	page := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer page.Close()
	response, err := http.Get(page.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			names = append(names, strings.Fields(name)[0])
		}
		series, _, _ := strings.Cut(line, "{")
		series = strings.Fields(series)[0]
		if !strings.HasPrefix(line, "#") && !strings.HasSuffix(series, "_bucket") && !strings.HasSuffix(series, "_sum") {
			lines += line
		}
	}
	return lines, names
}

// FuzzMutations checks that f(f(x)) = f(x) for all mutations, that given fields stay, and that nothing makes them
// panic.
func FuzzMutations(f *testing.F) {
	for _, spec := range []string{
		`{"spec":{"targetRefs":[{"name":"eg"},{"name":"r","kind":"HTTPRoute"},{"name":"x","group":"example.com"},{}]}}`,
		`{"spec":{"targetRef":{"name":"eg","sectionName":"s"}}}`, `{"spec":{"targetRef":[1],"targetRefs":{"name":1}}}`,
		`{"spec":[]}`, `{}`, `null`, annotated,
		`{"metadata":{"name":1,"annotations":{"cert-manager.io/issuer":"ca"}},"spec":{"listeners":[1,{"tls":1}]}}`,
	} {
		f.Add(true, []byte(spec))
		f.Add(false, []byte(spec))
	}
	m := &mutator{mutations: Mutations}
	f.Fuzz(func(t *testing.T, gateway bool, raw []byte) {
		kind := schema.GroupKind{Group: v1alpha1.GroupName, Kind: v1alpha1.KindSecurityPolicy}
		if gateway {
			kind = schema.GroupKind{Group: gwapiv1.GroupName, Kind: "Gateway"}
		}
		object, err := fields(raw)
		if err != nil {
			t.Skip()
		}
		before, _ := fields(raw)
		notes, changed := m.mutate(kind, object)
		if !changed && (!reflect.DeepEqual(before, object) || len(notes) > 0) {
			t.Errorf("%v became %v, which is said to be no change", before, object)
		}
		if !contains(object, before) {
			t.Errorf("%v lost what was given: %v", before, object)
		}
		once, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		if notes, changed := m.mutate(kind, object); changed || len(notes) > 0 {
			t.Errorf("%s is changed again: %v", once, notes)
		}
	})
}

// annotated is a Gateway with listeners for which cert-manager is asked to issue certificates.
const annotated = `{"kind":"Gateway","metadata":{"name":"eg","annotations":{"cert-manager.io/issuer":"ca"}},"spec":{"listeners":[
	{"name":"a","protocol":"HTTPS","hostname":"a.example.com"}, {"name":"b","protocol":"HTTPS","hostname":"b.example.com","tls":{}},
	{"name":"c","protocol":"HTTPS","hostname":"c.example.com","tls":{"certificateRefs":[]}}, {"name":"d","protocol":"HTTP"}]}}`

// contains reports whether all that b has is in a.
func contains(a, b any) bool {
	switch b := b.(type) {
	case map[string]any:
		object, ok := a.(map[string]any)
		for key, value := range b {
			ok = ok && contains(object[key], value)
		}
		return ok || b == nil
	case []any:
		list, ok := a.([]any)
		ok = ok && len(list) == len(b)
		for i := range b {
			ok = ok && contains(list[i], b[i])
		}
		return ok
	}
	return reflect.DeepEqual(a, b)
}

// FuzzValidate checks that no request makes the server panic or get an answer that the API server would not accept.
func FuzzValidate(f *testing.F) {
	trier := newWorld(f, nil)
	v := &validator{trier: trier, scheme: scheme, levels: levels{namespaces: stored(nil)}, counts: newCounts(nil)}
	f.Add("CREATE", "HTTPRoute",
		[]byte(`{"apiVersion":"gateway.networking.k8s.io/v1","kind":"HTTPRoute","metadata":{"name":"r"},"spec":{"rules":[{"matches":[{"path":{"type":"RegularExpression","value":"("}}]}]}}`), []byte(`{}`))
	f.Add("UPDATE", "SecurityPolicy", []byte(knownBad), []byte(`{"metadata":{"labels":{"a":"b"}}}`))
	f.Fuzz(func(t *testing.T, operation, kind string, object, old []byte) {
		request := httpRoute()
		request.Operation, request.Kind.Kind = admissionv1.Operation(operation), kind
		request.Object.Raw, request.OldObject.Raw = object, old
		response, err := v.answer(t.Context(), request)
		if err == nil && !response.Allowed && (response.Result == nil || response.Result.Message == "" ||
			response.Result.Code < http.StatusBadRequest) {
			t.Errorf("%+v is no denial", response)
		}
	})
}

func TestParseLevel(t *testing.T) {
	for _, name := range []string{"off", "warn", "enforce", "strict"} {
		if level, err := ParseLevel(name); err != nil || string(level) != name {
			t.Errorf("ParseLevel(%q) is %q, %v", name, level, err)
		}
	}
	if _, err := ParseLevel("harsh"); err == nil || !strings.Contains(err.Error(),
		`"harsh" is not a level: use off, warn, enforce, strict`) {
		t.Errorf("a level that there is not: %v", err)
	}
}
