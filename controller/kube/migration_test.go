package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
	"gatehouse/controller"
	"gatehouse/infra/kubetest"
	"gatehouse/policies/rules"
	"gatehouse/translator"
)

const controllerName = "gateway.envoyproxy.io/gatewayclass-controller"

// TestMovingFromEnvoyGatewayAndBack: objects with fields and of kinds that are not served, stored under CRDs that know
// them, keep all of their specs when ours are applied, when our control plane reads them and writes their statuses, and
// when the other CRDs are applied again. Meanwhile the statuses say what is not served. CRDs that keep everything stand
// for Envoy Gateway's.
func TestMovingFromEnvoyGatewayAndBack(t *testing.T) {
	s := newSeen(t)
	ours := ourDefinitions(t)
	theirs := lenient(ours)
	policies := theirs[slices.IndexFunc(theirs, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return crd.Spec.Names.Kind == v1alpha1.KindSecurityPolicy
	})]
	for _, kind := range []string{v1alpha1.KindEnvoyExtensionPolicy, v1alpha1.KindEnvoyPatchPolicy} {
		theirs = append(theirs, definitionLike(policies, kind))
	}
	s.define(t, theirs)
	t.Cleanup(func() { s.uninstall(t, theirs) })
	s.refuses(t, false)

	objects := s.store(t, "testdata/envoy-gateway.yaml")
	stored := s.specs(t, objects)
	s.define(t, ours)
	s.refuses(t, true)
	if diff := cmp.Diff(stored, s.specs(t, objects)); diff != "" {
		t.Fatalf("our CRDs change what is stored (-before +after):\n%s", diff)
	}
	s.govern(t, nil, logr.Discard())
	for kind, words := range map[string][]string{
		"SecurityPolicy":       {`"jwt" is not served yet`, "spec.apiKeyAuth: ", "spec.authorization.rules[0].operation: "},
		"BackendTrafficPolicy": {`no service counts requests for all Envoys`},
		"Gateway":              {"EnvoyProxy default/eg is not valid: spec.backendTLS: "},
		"EnvoyProxy":           {"spec.backendTLS: ", `"reason":"InvalidParameters"`},
		"EnvoyExtensionPolicy": {"kind EnvoyExtensionPolicy is not served yet"},
		"EnvoyPatchPolicy":     {"kind EnvoyPatchPolicy is switched off"},
		"Backend":              {"spec.tls.futureField: ", "spec.endpoints[1].unix: "},
	} {
		s.awaitStatus(t, kind, words)
	}
	if diff := cmp.Diff(stored, s.specs(t, objects)); diff != "" {
		t.Errorf("our control plane changes what is stored (-before +after):\n%s", diff)
	}
	s.define(t, theirs)
	s.refuses(t, false)
	if diff := cmp.Diff(stored, s.specs(t, objects)); diff != "" {
		t.Errorf("the way back changes what is stored (-before +after):\n%s", diff)
	}
}

// ourDefinitions are the CRDs of the chart.
func ourDefinitions(t *testing.T) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	files, err := filepath.Glob("../../manifests/gatehouse-crds/files/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs: %v", err)
	}
	crds := make([]*apiextensionsv1.CustomResourceDefinition, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crds[i] = &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, crds[i]); err != nil {
			t.Fatal(err)
		}
	}
	return crds
}

// lenient returns the CRDs as they would be if they took any spec.
func lenient(crds []*apiextensionsv1.CustomResourceDefinition) (all []*apiextensionsv1.CustomResourceDefinition) {
	for _, crd := range crds {
		crd = crd.DeepCopy()
		keepAll(crd)
		all = append(all, crd)
	}
	return all
}

// keepAll has a CRD take any spec.
func keepAll(crd *apiextensionsv1.CustomResourceDefinition) {
	keep := true
	crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = apiextensionsv1.JSONSchemaProps{
		Type:                   "object",
		XPreserveUnknownFields: &keep,
	}
}

// definitionLike is a CRD with the same schema for another kind of policy.
func definitionLike(crd *apiextensionsv1.CustomResourceDefinition,
	kind string,
) *apiextensionsv1.CustomResourceDefinition {
	crd = crd.DeepCopy()
	plural := strings.TrimSuffix(strings.ToLower(kind), "y") + "ies"
	crd.Name = plural + "." + v1alpha1.GroupName
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{
		Kind: kind, ListKind: kind + "List", Plural: plural,
		Singular: strings.ToLower(kind),
	}
	return crd
}

// define stores CRDs, in the place of those that have their names.
func (s *seen) define(t *testing.T, crds []*apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	for _, crd := range crds {
		stored := &apiextensionsv1.CustomResourceDefinition{}
		switch err := s.Get(t.Context(), client.ObjectKeyFromObject(crd), stored); {
		case apierrors.IsNotFound(err):
			if err := s.Create(t.Context(), crd.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			continue
		case err != nil:
			t.Fatal(err)
		}
		stored.Spec = crd.Spec
		if err := s.Update(t.Context(), stored); err != nil {
			t.Fatal(err)
		}
	}
}

// refuses waits until the CRDs of our kinds refuse, or take, what our schemas do not allow.
func (s *seen) refuses(t *testing.T, want bool) {
	t.Helper()
	const targets = `"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "eg"}]`
	for kind, spec := range map[string]string{
		v1alpha1.KindSecurityPolicy:       `{` + targets + `, "authorization": {"defaultAction": "Ask"}}`,
		v1alpha1.KindBackendTrafficPolicy: `{` + targets + `, "timeout": {"tcp": {"connectTimeout": "soon"}}}`,
		v1alpha1.KindEnvoyProxy:           `{"concurrency": -1}`,
		v1alpha1.KindBackend:              `{"endpoints": [{"ip": {"address": "here", "port": 80}}]}`,
	} {
		becomes(t, func() error {
			o := &unstructured.Unstructured{}
			text := fmt.Sprintf(`{"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": %q, "metadata": {"name": "probe", "namespace": "default"}, "spec": %s}`, kind, spec)
			if err := o.UnmarshalJSON([]byte(text)); err != nil {
				t.Fatal(err)
			}
			if err := s.Create(t.Context(), o, client.DryRunAll); err != nil != want {
				return fmt.Errorf("a %s with a wrong value: %w, refused should be %t", kind, err, want)
			}
			return nil
		})
	}
}

// store creates the objects of a file, in namespace default.
func (s *seen) store(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		o := object(t, document)
		o.SetNamespace("default")
		if o.GetKind() == "GatewayClass" {
			o.SetNamespace("")
		}
		s.create(t, o)
		objects = append(objects, o)
	}
	return objects
}

// specs are the specs of the objects as they are stored, in JSON.
func (s *seen) specs(t *testing.T, objects []*unstructured.Unstructured) map[string]string {
	t.Helper()
	specs := map[string]string{}
	for _, o := range objects {
		now := &unstructured.Unstructured{}
		now.SetGroupVersionKind(o.GroupVersionKind())
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(o), now); err != nil {
			t.Fatal(err)
		}
		text, err := json.MarshalIndent(now.Object["spec"], "", " ")
		if err != nil {
			t.Fatal(err)
		}
		specs[o.GetKind()] = string(text)
	}
	return specs
}

// govern runs a control plane without Envoys: it watches, translates, and writes statuses.
func (s *seen) govern(t *testing.T, metrics prometheus.Registerer, log logr.Logger) {
	t.Helper()
	engine, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	world := translator.NewWorld(translator.NewTables(translator.Settings{
		ControllerName: controllerName,
		EnabledKinds:   []string{v1alpha1.KindBackend},
	}, engine))
	writer := controller.NewStatusWriter(s.Client, controllerName, metrics, log)
	put := func(events ...translator.Event) {
		outcome, err := world.Apply(events)
		if err != nil {
			t.Error(err)
		}
		for _, status := range outcome.Statuses {
			writer.Set(status)
		}
	}
	kubetest.Start(t, writer.Start)
	w := s.watcher(t)
	w.Put = put
	if err := w.Watch(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// awaitStatus waits until the status of object default/eg of a kind says that it is not accepted, with these words.
func (s *seen) awaitStatus(t *testing.T, kind string, words []string) {
	t.Helper()
	becomes(t, func() error {
		o := &unstructured.Unstructured{}
		o.SetAPIVersion("gateway.envoyproxy.io/v1alpha1")
		if kind == "Gateway" {
			o.SetAPIVersion("gateway.networking.k8s.io/v1")
		}
		o.SetKind(kind)
		if err := s.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "eg"}, o); err != nil {
			return err
		}
		status, err := json.Marshal(o.Object["status"])
		text := strings.ReplaceAll(string(status), `\"`, `"`)
		for _, w := range append(words, `"status":"False"`) {
			if !strings.Contains(text, w) {
				return fmt.Errorf("the status of the %s lacks %q: %s: %w", kind, w, text, err)
			}
		}
		return nil
	})
}

// becomes waits until there is no error any more.
func becomes(t *testing.T, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
