package v1alpha1

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The specs without their methods, in the form that the decoder uses.
type (
	plainSecurity       SecurityPolicySpec
	plainBackendTraffic BackendTrafficPolicySpec
	plainEnvoyProxy     EnvoyProxySpec
	plainBackend        BackendSpec
)

var plainSpecs = []struct {
	kind string
	new  func() any
}{
	{KindSecurityPolicy, func() any { return &plainSecurity{} }},
	{KindBackendTrafficPolicy, func() any { return &plainBackendTraffic{} }},
	{KindEnvoyProxy, func() any { return &plainEnvoyProxy{} }},
	{KindBackend, func() any { return &plainBackend{} }},
}

// TestServedFieldsAreKnown compares the types with the list of Envoy Gateway's fields: the list contains all served
// fields, as deep as it goes.
func TestServedFieldsAreKnown(t *testing.T) {
	for _, spec := range plainSpecs {
		checkKnown(t, spec.kind, reflect.TypeOf(spec.new()), knownFields()[spec.kind])
	}
}

func checkKnown(t *testing.T, at string, of reflect.Type, known objectFields) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		of = of.Elem()
	}
	if known == nil || of.Kind() != reflect.Struct {
		return
	}
	for name, field := range servedFields(of) {
		object, ok := known[name]
		if !ok {
			t.Errorf("%s.%s is served, and not in the list of Envoy Gateway's fields", at, name)
		}
		checkKnown(t, at+"."+name, field, knownFields()[object])
	}
}

// TestListOfFields: each object of the list exists, and a field refers to it.
func TestListOfFields(t *testing.T) {
	led := map[string]bool{}
	for name, fields := range knownFields() {
		for field, object := range fields {
			if object != "" && knownFields()[object] == nil {
				t.Errorf("%s.%s leads to %q, which is not in the list", name, field, object)
			}
			led[object] = true
		}
	}
	for name := range knownFields() {
		kind := strings.HasSuffix(name, "Policy") || slices.Contains([]string{"EnvoyProxy", "HTTPRouteFilter", "Backend"},
			name)
		if taken := strings.Contains(envoyGateway, "+"+name); !led[name] && !kind && !taken {
			t.Errorf("no field leads to %s", name)
		}
	}
}

// TestWrongTypesAreNoErrors: an object with a field of the wrong type, which another CRD may have admitted, is read as
// far as possible.
func TestWrongTypesAreNoErrors(t *testing.T) {
	p := &BackendTrafficPolicy{}
	if err := json.Unmarshal([]byte(`{"spec": {"targetRefs": [{"name": "a"}], "retry": {"numRetries": "3"}, "timeout": {"tcp": {"connectTimeout": "1s"}}}}`), p); err != nil {
		t.Fatal(err)
	}
	want := []UnreadField{{
		Path: "spec.retry.numRetries", Name: "numRetries",
		Failure: "it is of type string and should be of type integer",
	}}
	if diff := cmp.Diff(want, p.GetUnread()); diff != "" {
		t.Error(diff)
	}
	if len(p.Spec.TargetRefs) != 1 || p.Spec.Timeout == nil {
		t.Errorf("the rest is lost: %+v", p.Spec)
	}
}

// TestUnreadIsCopiedAndNeverWritten: copies keep the list of unread fields, and it is never sent to the API server.
func TestUnreadIsCopiedAndNeverWritten(t *testing.T) {
	p := &SecurityPolicy{}
	if err := json.Unmarshal([]byte(`{"spec": {"targetRefs": [{"name": "a"}], "jwt": {}}}`), p); err != nil {
		t.Fatal(err)
	}
	if got := p.DeepCopy().GetUnread(); len(got) != 1 {
		t.Errorf("a copy has %v", got)
	}
	text, err := json.Marshal(p.Spec)
	if err != nil || string(text) != `{"targetRefs":[{"group":"","kind":"","name":"a"}]}` {
		t.Errorf("written %s, %v", text, err)
	}
}

// TestNonsenseIsBounded: an object of the maximum size, full of unknown names, is reported in a few short lines.
func TestNonsenseIsBounded(t *testing.T) {
	nonsense := map[string]any{strings.Repeat("\n", 1<<18): 1, "a.b": 1, "größe": 1}
	for i := range 100_000 {
		nonsense[fmt.Sprintf("jwt%d", i)] = i
	}
	text, err := json.Marshal(nonsense)
	if err != nil {
		t.Fatal(err)
	}
	found, err := decodeSpec(text, KindSecurityPolicy, &plainSecurity{})
	if err != nil || len(found) != maxUnread {
		t.Errorf("%d fields, %v", len(found), err)
	}
	var paths strings.Builder
	for _, f := range found {
		paths.WriteString(f.Path)
	}
	if strings.ContainsAny(paths.String(), "\n") || paths.Len() > maxUnread*4*maxName ||
		!strings.Contains(paths.String(), `spec["a.b"]`) {
		t.Errorf("paths of %d bytes: %.300q", paths.Len(), paths.String())
	}
}

// FuzzUnread: every field of any spec is either read or reported, once. Reported are fields that a strict decoder does
// not know, and wrong types. No valid JSON makes decoding fail.
func FuzzUnread(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for document := range strings.SplitSeq(string(archive.Files[0].Data), "\n---\n") {
			var object struct {
				Spec json.RawMessage `json:"spec"`
			}
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				f.Fatal(err)
			}
			for i := range plainSpecs {
				f.Add(i, []byte(object.Spec))
			}
		}
	}
	for i := range plainSpecs {
		f.Add(i, []byte(`null`))
		f.Add(i, []byte(`[{"retry": 1}]`))
		f.Add(i, []byte(`{"": {"": []}, "retry": null, "Unread": [{}], "logging": {"level": {"a": {"b": 1}}}}`))
	}
	f.Fuzz(func(t *testing.T, i int, text []byte) {
		if i < 0 || i >= len(plainSpecs) || !json.Valid(text) {
			return
		}
		found, err := decodeSpec(text, plainSpecs[i].kind, plainSpecs[i].new())
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		strict, err := kjson.UnmarshalStrict(text, plainSpecs[i].new())
		var got, want []string
		for _, f := range found {
			if f.Failure == "" && !plainName.MatchString(f.Name) {
				return // It is reported in another form.
			}
			if f.Failure == "" {
				got = append(got, strings.NewReplacer("[", ".", "]", "").Replace(f.Path))
			}
		}
		if len(found)-len(got) > 0 != (err != nil) {
			t.Errorf("%s: found %v, the decoder says %v", text, found, err)
		}
		for _, problem := range strict {
			path, unknown := strings.CutPrefix(problem.Error(), `unknown field "`)
			if !unknown || len(strict) >= maxUnread {
				return // A field is given twice, and both lists end there.
			}
			want = append(want, "spec."+strings.NewReplacer("[", ".", "]", "").Replace(strings.TrimSuffix(path, `"`)))
		}
		slices.Sort(got)
		slices.Sort(want)
		if err == nil && !slices.Equal(got, want) {
			t.Errorf("%s: found %q, the strict decoder %q", text, got, want)
		}
	})
}
