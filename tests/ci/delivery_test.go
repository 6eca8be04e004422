package ci

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	lua "github.com/yuin/gopher-lua"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// health is what Argo CD makes of an object.
type health struct{ status, message string }

// judge runs the script for the health of an object, as Argo CD does it.
func judge(t *testing.T, script string, object map[string]any) health {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", luaValue(state, object))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returns %v", state.Get(-1))
	}
	return health{result.RawGetString("status").String(), result.RawGetString("message").String()}
}

// luaValue is a value of JSON in Lua.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for name, each := range value {
			table.RawSetString(name, luaValue(state, each))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, each := range value {
			table.Append(luaValue(state, each))
		}
		return table
	case string:
		return lua.LString(value)
	case float64:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	}
	return lua.LNil
}

// cases are objects with the health that they have in Argo CD, and whether they are current or failed for Flux.
var cases = []struct {
	name, object    string
	want            health
	current, failed bool
}{
	{
		name: "new", object: `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {generation: 1}}`,
		want: health{"Progressing", "waiting for the control plane"},
	},
	{
		name: "route", current: true, want: health{"Healthy", ""},
		object: `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {generation: 2}, status: {parents: [{parentRef: {name: web}, conditions: [
  {type: Accepted, status: "True", reason: Accepted, observedGeneration: 2, message: ""},
  {type: ResolvedRefs, status: "True", reason: ResolvedRefs, observedGeneration: 2, message: ""}]}]}}`,
	},
	{
		name: "route of which one reference is missing", failed: true,
		want: health{"Degraded", "web: ResolvedRefs: no Service \"cart\""},
		object: `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {generation: 2}, status: {parents: [{parentRef: {name: web}, conditions: [
  {type: Accepted, status: "True", reason: Accepted, observedGeneration: 2, message: ""},
  {type: ResolvedRefs, status: "False", reason: BackendNotFound, observedGeneration: 2, message: "no Service \"cart\""}]}]}}`,
	},
	{
		name: "route whose status is about the version before",
		want: health{"Progressing", "web: waiting for the control plane to see the newest version"},
		object: `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {generation: 3}, status: {parents: [{parentRef: {name: web}, conditions: [
  {type: Accepted, status: "False", reason: NoMatchingParent, observedGeneration: 2, message: "no Gateway"}]}]}}`,
	},
	{
		name: "Gateway that waits for its address", want: health{"Progressing", "Programmed: no address yet"},
		object: `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {generation: 1}, status: {conditions: [
  {type: Accepted, status: "True", reason: Accepted, observedGeneration: 1, message: ""},
  {type: Programmed, status: "False", reason: AddressNotAssigned, observedGeneration: 1, message: no address yet}]}}`,
	},
	{
		name: "Gateway that is programmed", current: true, want: health{"Healthy", ""},
		object: `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {generation: 1}, status: {conditions: [
  {type: Accepted, status: "True", reason: Accepted, observedGeneration: 1, message: ""},
  {type: Programmed, status: "True", reason: Programmed, observedGeneration: 1, message: ""}]}}`,
	},
	{
		name: "policy that one Gateway accepts and another one does not", failed: true,
		want: health{"Degraded", "b: Accepted: an older policy wins"},
		object: `{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: SecurityPolicy, metadata: {generation: 1}, status: {ancestors: [
  {ancestorRef: {name: a}, conditions: [{type: Accepted, status: "True", reason: Accepted, observedGeneration: 1, message: ""}]},
  {ancestorRef: {name: b}, conditions: [{type: Accepted, status: "False", reason: Conflicted, observedGeneration: 1, message: an older policy wins}]}]}}`,
	},
}

// TestArgoCDHealth: the script in the ConfigMap is the one of the file for each kind, and says what the conditions mean.
func TestArgoCDHealth(t *testing.T) {
	_, docs := folders(t)
	script, err := os.ReadFile(filepath.Join(docs, "health.lua"))
	if err != nil {
		t.Fatal(err)
	}
	var config corev1.ConfigMap
	read(t, "argocd-cm.yaml", &config)
	var kinds map[string]map[string]string
	if err := sigsyaml.UnmarshalStrict([]byte(config.Data["resource.customizations"]), &kinds); err != nil {
		t.Fatal(err)
	}
	for kind, has := range kinds {
		if has["health.lua"] != string(script) {
			t.Errorf("the script of %s is not health.lua", kind)
		}
	}
	for _, each := range cases {
		object := decoded(t, each.object)
		group, _, _ := strings.Cut(object["apiVersion"].(string), "/")
		script := kinds[group+"/"+object["kind"].(string)]["health.lua"]
		if got := judge(t, script, object); got != each.want {
			t.Errorf("%s: got %+v, want %+v", each.name, got, each.want)
		}
	}
}

func decoded(t *testing.T, text string) (object map[string]any) {
	t.Helper()
	if err := sigsyaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// TestPreSyncJob: the Job runs a command that exists on the ConfigMap that it mounts, before the manifests are applied.
func TestPreSyncJob(t *testing.T) {
	_, docs := folders(t)
	text, err := os.ReadFile(filepath.Join(docs, "presync.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	job := batchv1.Job{}
	if err := sigsyaml.UnmarshalStrict(text, &job); err != nil {
		t.Fatal(err)
	}
	pod := job.Spec.Template.Spec
	run := pod.Containers[0]
	if job.Annotations["argocd.argoproj.io/hook"] != "PreSync" || *job.Spec.BackoffLimit != 0 ||
		run.VolumeMounts[0].Name != pod.Volumes[0].Name {
		t.Errorf("the Job is %+v", job)
	}
	environment, _ := pipeline(t)
	folder := strings.Replace(strings.Join(run.Args, " "), run.VolumeMounts[0].MountPath, "deploy", 1)
	if text, err := step(t, environment, "gatehouse "+folder); err == nil || !strings.Contains(text, message) {
		t.Errorf("what the Job runs says %v: %s", err, text)
	}
}

// TestFlux: the expressions for health mean what the conditions do, and the checks come before the manifests.
func TestFlux(t *testing.T) {
	type expressions struct{ APIVersion, Kind, Current, Failed string }
	type kustomization struct {
		Metadata struct{ Name string }
		Spec     struct {
			DependsOn        []struct{ Name string }
			Wait             bool
			HealthCheckExprs []expressions
		}
	}
	var all []kustomization
	_, docs := folders(t)
	text, err := os.ReadFile(filepath.Join(docs, "flux.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var each kustomization
		if err := decoder.Decode(&each); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, each)
	}
	if len(all) != 2 || all[1].Spec.DependsOn[0].Name != all[0].Metadata.Name || !all[0].Spec.Wait || !all[1].Spec.Wait {
		t.Fatalf("the Kustomizations are %+v", all)
	}
	of := map[string]expressions{}
	for _, each := range all[1].Spec.HealthCheckExprs {
		of[each.Kind] = each
		for _, expression := range []string{each.Current, each.Failed} {
			evaluate(t, expression, decoded(t, cases[0].object))
		}
	}
	for _, each := range cases {
		object := decoded(t, each.object)
		has := of[object["kind"].(string)]
		if has.APIVersion != object["apiVersion"] {
			t.Fatalf("%s: there are no expressions for it", each.name)
		}
		if current, failed := evaluate(t, has.Current, object), evaluate(t, has.Failed, object); current != each.current ||
			failed != each.failed {
			t.Errorf("%s: current %t and failed %t, want %t and %t", each.name, current, failed, each.current, each.failed)
		}
	}
}

// evaluate evaluates an expression whose variables are the fields of an object. A status is there, since Flux waits for it.
func evaluate(t *testing.T, expression string, object map[string]any) bool {
	t.Helper()
	if object["status"] == nil {
		object["status"] = map[string]any{}
	}
	env, err := cel.NewEnv(cel.OptionalTypes())
	if err != nil {
		t.Fatal(err)
	}
	ast, issues := env.Parse(expression)
	if issues.Err() != nil {
		t.Fatalf("%s: %v", expression, issues.Err())
	}
	program, err := env.Program(ast)
	if err != nil {
		t.Fatal(err)
	}
	result, _, err := program.Eval(object)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	value, ok := result.Value().(bool)
	if !ok {
		t.Fatalf("%s is %v", expression, result)
	}
	return value
}
