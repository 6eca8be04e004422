package webhook

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
	"gatehouse/translator"
)

const tables = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: eg, namespace: default}
spec:
  gatewayClassName: eg
  listeners: [{name: http, protocol: HTTP, port: 80}]
`

const routeYAML = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME, namespace: default}
spec:
  parentRefs: [{name: eg}]
  rules: [{matches: [{path: {type: RegularExpression, value: "PATH"}}], backendRefs: [{name: BACKEND, port: 3000}]}]
`

func routeOf(t *testing.T, name, path, backend string) *unstructured.Unstructured {
	t.Helper()
	return parsed(t, strings.NewReplacer("NAME", name, "PATH", path, "BACKEND", backend).Replace(routeYAML))
}

func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	json, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(json); err != nil {
		t.Fatal(err)
	}
	return u
}

// heard collects the warnings from the API server.
type heard struct{ texts []string }

func (h *heard) HandleWarningHeader(_ int, _, text string) { h.texts = append(h.texts, text) }

// user is a client that receives warnings.
func (c *cluster) user(t *testing.T) (client.Client, *heard) {
	t.Helper()
	h := &heard{}
	config := rest.CopyConfig(c.config)
	config.WarningHandler = h
	user, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return user, h
}

// register makes the API server call the webhook for everything that it supports, and waits until it does.
func (c *cluster) register(t *testing.T, s *served, policy admissionregv1.FailurePolicyType) {
	t.Helper()
	rule := admissionregv1.RuleWithOperations{
		Operations: []admissionregv1.OperationType{admissionregv1.OperationAll},
		Rule: admissionregv1.Rule{
			APIGroups:   []string{"gateway.networking.k8s.io", v1alpha1.GroupName, rulesv1alpha1.GroupName},
			APIVersions: []string{"*"}, Resources: []string{"*/*"},
		},
	}
	secrets := *rule.DeepCopy()
	secrets.APIGroups, secrets.Resources = []string{""}, []string{"secrets"}
	none, seconds := admissionregv1.SideEffectClassNone, int32(5)
	at := func(path string) admissionregv1.WebhookClientConfig {
		url := "https://" + s.address + path
		return admissionregv1.WebhookClientConfig{URL: &url, CABundle: s.ca}
	}
	validating := &admissionregv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "under-test"},
		Webhooks: []admissionregv1.ValidatingWebhook{{
			Name: "validate.gatehouse.dev", ClientConfig: at(ValidatePath),
			Rules:         []admissionregv1.RuleWithOperations{rule, secrets},
			FailurePolicy: &policy,
			SideEffects:   &none, AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: &seconds,
		}},
	}
	mutating := &admissionregv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "under-test"},
		Webhooks: []admissionregv1.MutatingWebhook{{
			Name: "mutate.gatehouse.dev", ClientConfig: at(MutatePath), Rules: []admissionregv1.RuleWithOperations{rule},
			FailurePolicy: &policy,
			SideEffects:   &none, AdmissionReviewVersions: []string{"v1"}, TimeoutSeconds: &seconds,
		}},
	}
	for _, o := range []client.Object{validating, mutating} {
		if err := c.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.client.Delete(context.Background(), o); err != nil {
				t.Error(err)
			}
		})
	}
	// A target with only a name is accepted as soon as the mutator is called; then the validator is called too.
	probe := `{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: SecurityPolicy, metadata: {name: probe, namespace: default}, spec: {targetRefs: [{name: eg}]}}`
	for start := time.Now(); c.client.Create(t.Context(), parsed(t, probe),
		client.DryRunAll) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > 30*time.Second {
			t.Fatal("the API server does not ask the webhook")
		}
	}
}

// TestAPIServer checks the answers that users of a real API server get.
func TestAPIServer(t *testing.T) {
	c := realCluster(t)
	var trier atomic.Pointer[TrierFunc]
	world := newWorld(t, []byte(tables))
	set := func(f TrierFunc) { trier.Store(&f) }
	set(world.Try)
	s := serve(t, Options{
		Trier: TrierFunc(func(ctx context.Context, o client.Object) ([]translator.Finding, error) {
			return (*trier.Load())(ctx, o)
		}),
		Namespaces: c.client, Exists: Live(c.client, c.client.RESTMapper()),
	})
	c.tidy(t, "default", "free")
	c.register(t, s, admissionregv1.Fail)
	user, warnings := c.user(t)

	t.Run("denied", func(t *testing.T) {
		err := user.Create(t.Context(), routeOf(t, "denied", "/v(?=1)", "gone"))
		want := `admission webhook "validate.gatehouse.dev" denied the request: spec.rules[0].matches[0].path.value: regular expression "/v(?=1)" is not valid RE2: invalid or unsupported Perl syntax: ` + "`(?=`" +
			`: correct it (RE2 has no look-around and no back-references)`
		if !apierrors.IsInvalid(err) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
	t.Run("warned", func(t *testing.T) {
		warnings.texts = nil
		if err := user.Create(t.Context(), routeOf(t, "warned", "/", "gone")); err != nil {
			t.Fatal(err)
		}
		want := []string{`spec.rules[0].backendRefs[0].name: no Service "gone" in namespace "default": create it or correct the name`}
		if diff := cmp.Diff(want, warnings.texts); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("stored but unseen", func(t *testing.T) {
		warnings.texts = nil
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "fresh", Namespace: "default"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 3000}}},
		}
		if err := user.Create(t.Context(), service); err != nil {
			t.Fatal(err)
		}
		if err := user.Create(t.Context(), routeOf(t, "unseen", "/", "fresh")); err != nil || len(warnings.texts) > 0 {
			t.Errorf("got %v and warnings %q", err, warnings.texts)
		}
	})
	t.Run("mutated before the schema", func(t *testing.T) {
		policy := parsed(t, `{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: SecurityPolicy, metadata: {name: short, namespace: default}, spec: {targetRefs: [{name: eg}], cors: {allowOrigins: ["*"]}}}`)
		if err := user.Create(t.Context(), policy); err != nil {
			t.Fatal(err)
		}
		refs, _, _ := unstructured.NestedSlice(policy.Object, "spec", "targetRefs")
		want := []any{map[string]any{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "eg"}}
		if diff := cmp.Diff(want, refs); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("off", func(t *testing.T) {
		c.namespace(t, "free", map[string]string{LevelLabel: "off"})
		route := routeOf(t, "wrong", "(", "gone")
		route.SetNamespace("free")
		if err := user.Create(t.Context(), route); err != nil {
			t.Error(err)
		}
	})
	t.Run("kubectl", func(t *testing.T) { kubectl(t, c) })
	t.Run("never in the way", func(t *testing.T) {
		set(says(translator.Finding{Object: own, Problem: verdict.Problem{
			Field: "spec", Message: "bad; mend it",
			Weight: verdict.Invalid,
		}}))
		route := routeOf(t, "warned", "/", "gone")
		if err := user.Get(t.Context(), client.ObjectKeyFromObject(route), route); err != nil {
			t.Fatal(err)
		}
		route.SetAnnotations(map[string]string{"example.com/seen": "yes"})
		if err := user.Update(t.Context(), route); err != nil {
			t.Errorf("a change that changes nothing: %v", err)
		}
		parents := []any{map[string]any{
			"controllerName": "example.com/c", "parentRef": map[string]any{"name": "eg"},
			"conditions": []any{map[string]any{
				"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
				"lastTransitionTime": "2026-01-01T00:00:00Z",
			}},
		}}
		if err := unstructured.SetNestedSlice(route.Object, parents, "status", "parents"); err != nil {
			t.Fatal(err)
		}
		if err := user.Status().Update(t.Context(), route); err != nil {
			t.Errorf("a status: %v", err)
		}
		route.SetLabels(map[string]string{"team": "a"})
		if err := user.Update(t.Context(), route); !apierrors.IsInvalid(err) {
			t.Errorf("a label, which selectors match: %v", err)
		}
		if err := user.Delete(t.Context(), route); err != nil {
			t.Errorf("a deletion: %v", err)
		}
	})
	t.Run("no verdict", func(t *testing.T) {
		set(func(context.Context, client.Object) ([]translator.Finding, error) {
			return nil, errors.New("tables are not filled yet")
		})
		err := user.Create(t.Context(), routeOf(t, "later", "/", "gone"))
		if err == nil || !strings.Contains(err.Error(), "tables are not filled yet: try again") {
			t.Errorf("got %v, want the words of the webhook", err)
		}
	})
}

// kubectl checks the output of kubectl, if it is available.
func kubectl(t *testing.T, c *cluster) {
	program := filepath.Join(bin, "kubectl")
	if _, err := os.Stat(program); err != nil {
		t.Skip("no kubectl in bin/")
	}
	file := filepath.Join(t.TempDir(), "two.yaml")
	gateway := "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: mixed, namespace: default}\nspec:\n  gatewayClassName: eg\n" +
		"  listeners: [{name: web, protocol: HTTP, port: 80}, {name: db, protocol: TCP, port: 80}]\n"
	if err := os.WriteFile(file, []byte(strings.NewReplacer("NAME", "shown", "PATH", "(", "BACKEND",
		"gone").Replace(routeYAML)+gateway), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"create", "apply"} {
		cmd := exec.Command(program, "--server="+c.config.Host, "--token=admin", "--insecure-skip-tls-verify",
			"--cache-dir="+t.TempDir(), verb, "-f", file)
		out, err := cmd.CombinedOutput()
		t.Logf("kubectl %s:\n%s", verb, out)
		if err == nil {
			t.Errorf("kubectl %s succeeded", verb)
		}
		for _, want := range []string{
			`spec.rules[0].matches[0].path.value: regular expression "(" is not valid RE2`,
			`spec.listeners[0].protocol: HTTP cannot share port 80 with listener "db", which is TCP: give one of them another port`,
			`Warning: spec.rules[0].backendRefs[0].name: no Service "gone" in namespace "default"`,
		} {
			if !strings.Contains(string(out), want) {
				t.Errorf("kubectl %s does not print %s", verb, want)
			}
		}
	}
}

// TestGate checks when admission fails closed.
func TestGate(t *testing.T) {
	c := realCluster(t)
	var trier atomic.Pointer[TrierFunc]
	set := func(f TrierFunc) { trier.Store(&f) }
	world := newWorld(t, nil)
	set(world.Try)
	s := serve(t, Options{Trier: TrierFunc(func(ctx context.Context, o client.Object) ([]translator.Finding, error) {
		return (*trier.Load())(ctx, o)
	}), TimeLimit: time.Minute})
	config := gated(s.ca)
	if err := c.client.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.client.Delete(context.Background(), config) })
	gate := &Gate{
		Reader: c.client, Writer: c.client, Configuration: "gatehouse", Policy: FailurePolicyAuto, Dial: s.dial,
	}
	keep := func(want admissionregv1.FailurePolicyType) {
		t.Helper()
		if err := gate.Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := &admissionregv1.ValidatingWebhookConfiguration{}
		if err := c.client.Get(t.Context(), client.ObjectKeyFromObject(config), now); err != nil {
			t.Fatal(err)
		}
		got := map[string]admissionregv1.FailurePolicyType{}
		for _, w := range now.Webhooks {
			got[w.Name] = *w.FailurePolicy
			if !slices.Equal(w.ClientConfig.CABundle, config.Webhooks[0].ClientConfig.CABundle) || len(w.Rules) != 1 {
				t.Errorf("webhook %s lost something", w.Name)
			}
		}
		if diff := cmp.Diff(map[string]admissionregv1.FailurePolicyType{
			"validate.gatehouse.dev":         want,
			"off.validate.gatehouse.dev":     admissionregv1.Ignore,
			"secrets.validate.gatehouse.dev": admissionregv1.Ignore,
		}, got); diff != "" {
			t.Error(diff)
		}
	}
	keep(admissionregv1.Ignore) // No replica is ready.
	slice := c.replicas(t, nil, 1)
	keep(admissionregv1.Ignore)
	c.replicas(t, slice, 2)
	keep(admissionregv1.Fail)
	set(says())
	keep(admissionregv1.Ignore) // It no longer denies anything.
	set(world.Try)
	keep(admissionregv1.Fail)
	proceed := make(chan struct{})
	set(func(context.Context, client.Object) ([]translator.Finding, error) {
		<-proceed
		return nil, nil
	})
	leave := s.crowd(t)
	keep(admissionregv1.Fail) // A flood of the webhook does not open it.
	close(proceed)
	leave()
	set(world.Try)
	c.replicas(t, slice, 1)
	keep(admissionregv1.Ignore)
	gate.Policy = FailurePolicyFail
	keep(admissionregv1.Fail)
	gate.Policy = FailurePolicyIgnore
	c.replicas(t, slice, 2)
	keep(admissionregv1.Ignore)

	gate.Policy = FailurePolicyAuto
	keep(admissionregv1.Fail)
	_, other := issue(t, time.Now().Add(time.Hour))
	if err := c.client.Get(t.Context(), client.ObjectKeyFromObject(config), config); err != nil {
		t.Fatal(err)
	}
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.CABundle = other
	}
	if err := c.client.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	keep(admissionregv1.Ignore) // The API server could not verify the webhook's certificate either.
}

// gated is a configuration as in the chart, for a resource that nobody writes.
func gated(ca []byte) *admissionregv1.ValidatingWebhookConfiguration {
	ignore, none, path := admissionregv1.Ignore, admissionregv1.SideEffectClassNone, ValidatePath
	webhook := func(name, group, resource string) admissionregv1.ValidatingWebhook {
		return admissionregv1.ValidatingWebhook{
			Name: name, FailurePolicy: &ignore, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregv1.WebhookClientConfig{
				CABundle: ca, Service: &admissionregv1.ServiceReference{
					Namespace: "gatehouse-system", Name: "gatehouse",
					Path: &path,
				},
			},
			Rules: []admissionregv1.RuleWithOperations{{
				Operations: []admissionregv1.OperationType{admissionregv1.Create},
				Rule: admissionregv1.Rule{
					APIGroups: []string{group}, APIVersions: []string{"v1"},
					Resources: []string{resource},
				},
			}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"example.com/nobody": "here"}},
		}
	}
	return &admissionregv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "gatehouse"},
		Webhooks: []admissionregv1.ValidatingWebhook{
			webhook("validate.gatehouse.dev", "gateway.networking.k8s.io", "gateways"),
			webhook("off.validate.gatehouse.dev", v1alpha1.GroupName, "securitypolicies"),
			webhook("secrets.validate.gatehouse.dev", "", "secrets"),
		},
	}
}

// replicas sets how many pods of the webhook are ready.
func (c *cluster) replicas(t *testing.T, slice *discoveryv1.EndpointSlice, n int) *discoveryv1.EndpointSlice {
	t.Helper()
	if slice == nil {
		c.namespace(t, "gatehouse-system", nil)
		slice = &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "gatehouse-system", Name: "gatehouse-1",
				Labels: map[string]string{discoveryv1.LabelServiceName: "gatehouse"},
			},
			AddressType: discoveryv1.AddressTypeIPv4,
		}
		c.create(t, slice)
	}
	slice.Endpoints = nil
	for i, address := range []string{"10.0.0.1", "10.0.0.2"} {
		ready := i < n
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	if err := c.client.Update(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	return slice
}
