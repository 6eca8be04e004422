package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
	"gatehouse/controller/kube"
	"gatehouse/policies/admissionrule"
	"gatehouse/translator"
)

// reader counts what is read from an API server, and fails if it is told to.
type reader struct {
	client.Client
	reads atomic.Int32
	fails atomic.Bool
}

func (r *reader) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	r.reads.Add(1)
	if r.fails.Load() {
		return errors.New("the API server is not there")
	}
	return r.Client.Get(ctx, key, o, options...)
}

func (r *reader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	r.reads.Add(1)
	return r.Client.List(ctx, list, options...)
}

// live returns a reader with the API server.
func live(t *testing.T) *reader {
	t.Helper()
	c, err := client.New(server.Config(t), client.Options{Scheme: kube.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	return &reader{Client: c}
}

func (r *reader) namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "audit-"}}
	if err := r.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

const aboutLimits = `
matchConstraints:
  resourceRules: [{apiGroups: [gateway.networking.k8s.io], apiVersions: [v1], resources: [httproutes], operations: [CREATE]}]
paramKind: {apiVersion: v1, kind: ConfigMap}
paramRef: {%s, parameterNotFoundAction: Deny}
validations:
- {expression: "object.spec.hostnames.size() <= int(params.data.most)", messageExpression: "'at most ' + params.data.most"}
`

// TestParametersAreReadOnce: parameters are read once for all objects, and again when a ConfigMap changes that they may
// be. Only if they really changed are the objects judged again that depend on them.
func TestParametersAreReadOnce(t *testing.T) {
	r := live(t)
	f := newOffice(t, Options{Live: r})
	from, other := r.namespace(t), r.namespace(t)
	f.store(namespace(from, nil), namespace(other, nil))
	for i := range 20 {
		f.store(route(from, fmt.Sprintf("r%d", i), 1, "a.org", "b.org"), route(other, fmt.Sprintf("r%d", i), 1, "a.org", "b.org"))
	}
	config := func(namespace, most string) *corev1.ConfigMap {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "limits", Labels: map[string]string{"a": "b"}}}
		c.Data = map[string]string{"most": most}
		err := r.Create(t.Context(), c.DeepCopy())
		if err != nil {
			err = r.Update(t.Context(), c.DeepCopy())
		}
		if err != nil {
			t.Fatal(err)
		}
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "limits"}} // As caches have it.
	}
	config(from, "2")
	f.rule("everywhere", fmt.Sprintf(aboutLimits, "name: limits, namespace: "+from))
	f.lead(true)
	f.worked("the beginning", 40)
	f.want("everywhere", "judged 40, violations 0, excepted 0, failed 0")
	if n := r.reads.Load(); n != 1 {
		t.Errorf("the parameters were read %d times", n)
	}
	f.store(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: from, Name: "others"}})
	f.store(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "limits"}})
	f.worked("other ConfigMaps", 0)
	f.store(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: from, Name: "limits"}})
	f.worked("an event without a change", 0)
	if n := r.reads.Load(); n != 2 {
		t.Errorf("the parameters were read %d times", n)
	}
	f.store(config(from, "1"))
	f.worked("a change of the parameters", 40)
	if got := f.says("everywhere"); !strings.HasPrefix(got, "judged 40, violations 40,") || !strings.Contains(got, "at most 1") {
		t.Error(got)
	}

	f.DeleteRule("everywhere")
	f.rule("each", fmt.Sprintf(aboutLimits, "selector: {matchLabels: {a: b}}"))
	f.worked("a rule with parameters of each namespace", 40)
	f.want("each", append([]string{"judged 40, violations 20, excepted 0, failed 20"}, strings.Split(f.says("each"), "\n")[1:]...)...)
	f.store(config(other, "3"))
	f.worked("the parameters of one namespace", 20)
	if got := f.says("each"); !strings.HasPrefix(got, "judged 40, violations 20, excepted 0, failed 0") {
		t.Error(got)
	}

	r.fails.Store(true)
	f.rule("unread", fmt.Sprintf(aboutLimits, "name: limits"))
	f.work()
	f.want("unread", "judged 0, violations 0, excepted 0, failed 0") // Nothing is said that may be wrong.
}

// TestWholeObjectsAreJudged: rules see fields that the control plane does not keep.
func TestWholeObjectsAreJudged(t *testing.T) {
	r := live(t)
	f := newOffice(t, Options{Live: r})
	ns := r.namespace(t)
	f.store(namespace(ns, nil))
	f.rule("fields", `
matchConstraints:
  resourceRules: [{apiGroups: [gateway.envoyproxy.io], apiVersions: [v1alpha1], resources: [securitypolicies], operations: [CREATE]}]
validations:
- {expression: "!has(object.spec.misspelt) || object.spec.misspelt != 7", message: not seven}
`)
	f.lead(true)
	stored := &unstructured.Unstructured{}
	text := `{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: SecurityPolicy, metadata: {name: p, namespace: ` + ns + `},
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}], misspelt: 7}}`
	if err := yaml.Unmarshal([]byte(text), &stored.Object); err != nil {
		t.Fatal(err)
	}
	if err := r.Create(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	policy := &v1alpha1.SecurityPolicy{}
	if err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(stored), policy); err != nil {
		t.Fatal(err)
	}
	f.store(policy)
	f.worked("a policy", 1)
	f.want("fields", "judged 1, violations 1, excepted 0, failed 0", "SecurityPolicy "+ns+"/p : not seven")
	if n := r.reads.Load(); n != 1 {
		t.Errorf("%d reads", n)
	}
}

// TestRulesSeeWhatIsWritten: what rules see of objects that are read from caches is what somebody has written, for all
// objects of the goldens of the translation. Only fields that are zero, such as an empty text, may be missing.
func TestRulesSeeWhatIsWritten(t *testing.T) {
	files, err := filepath.Glob("../../translator/testdata/*.txtar")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d goldens: %v", len(files), err)
	}
	scheme, compared := kube.NewScheme(), map[string]int{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range archive.Files {
			for _, document := range strings.Split(string(part.Data), "\n---\n") {
				var head metav1.TypeMeta
				if filepath.Ext(part.Name) != ".yaml" || yaml.Unmarshal([]byte(document), &head) != nil {
					continue
				}
				gvk := schema.FromAPIVersionAndKind(head.APIVersion, head.Kind)
				resource, known := admissionrule.ResourceOf(gvk.GroupKind())
				typed, err := scheme.New(gvk)
				if !known || resource.Partial || err != nil {
					continue
				}
				if seesWritten(t, file, document, resource, typed) {
					compared[head.Kind]++
				}
			}
		}
	}
	for _, kind := range []string{"HTTPRoute", "Gateway", "SecurityPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy"} {
		if compared[kind] < 3 {
			t.Errorf("only %d objects of kind %s were compared", compared[kind], kind)
		}
	}
}

// withoutZeros removes what Go types with omitempty leave out.
func withoutZeros(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, field := range v {
			if field == nil || field == "" || field == int64(0) {
				delete(v, key)
			} else {
				v[key] = withoutZeros(field)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutZeros(v[i])
		}
	}
	return value
}

func seesWritten(t *testing.T, file, document string, resource admissionrule.Resource, typed runtime.Object) bool {
	t.Helper()
	text, err := yaml.YAMLToJSON([]byte(document))
	if err != nil {
		return false
	}
	var written map[string]any
	if utiljson.Unmarshal(text, &written) != nil || yaml.Unmarshal([]byte(document), typed) != nil {
		return false // Goldens have broken objects too.
	}
	source := typed.(translator.Object)
	if partly(resource.Kind, source) {
		return false // It is read from the API server.
	}
	seen, err := kept(resource, source)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(withoutZeros(written["spec"]), withoutZeros(seen["spec"])); diff != "" {
		t.Errorf("%s: %s %s (-written +seen):\n%s", filepath.Base(file), resource.Kind, source.GetName(), diff)
	}
	return true
}
