// Package manifests holds the tests of the Helm charts and of the quickstart.
package manifests

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/config"
	rulesv1alpha1 "gatehouse/api/rules/v1alpha1"
	"gatehouse/api/v1alpha1"
	"gatehouse/controller/kube"
)

// renderings are the values that the chart is tested with.
var renderings = map[string][]string{
	"default": nil,
	"everything": {
		"--set=certgen.job.enabled=true,hpa.enabled=true,podDisruptionBudget.minAvailable=1",
		"--set=global.imageRegistry=registry.example.com,global.imagePullSecrets[0].name=pull,global.images.envoyProxy.image=envoy:v1.40.0",
		"--set=commonLabels.team=edge,deployment.pod.labels.tier=control,deployment.annotations.note=x,service.annotations.note=x",
		"--set=deployment.pod.nodeSelector.zone=a,deployment.pod.securityContext.fsGroup=65532,deployment.priorityClassName=high",
		"--set=deployment.strategy.type=Recreate,service.trafficDistribution=PreferClose,certgen.job.annotations.note=x",
		"--set=networkPolicy.apiServerCIDRs={192.0.2.1/32},networkPolicy.extraIngress[0].ports[0].port=xds",
		"--set=admission.excludedNamespaces={infra,ci},deployment.gatehouse.extraArgs={--v=1}",
	},
	"cert-manager":        {"--set=certManager.enabled=true,certManager.renewBefore=360h"},
	"cert-manager-issuer": {"--set=certManager.enabled=true,certManager.caInjection=cainjector,certManager.issuerRef.name=platform,certManager.issuerRef.kind=ClusterIssuer"},
	"gateway-namespace":   {"--set=config.envoyGateway.provider.kubernetes.deploy.type=GatewayNamespace"},
	"namespace":           {"--set=createNamespace=true"},
	"no-admission":        {"--set=admission.enabled=false,networkPolicy.enabled=false,podDisruptionBudget.maxUnavailable=50%"},
}

// TestChart decodes every object of the chart as the API server does, unknown fields refused, and holds them to what
// the installation promises.
func TestChart(t *testing.T) {
	for name, values := range renderings {
		t.Run(name, func(t *testing.T) {
			var configured bool
			for _, obj := range decode(t, helmTemplate(t, "gatehouse", values...)) {
				switch obj := obj.(type) {
				case *corev1.ConfigMap:
					configured = true
					if _, err := config.Parse([]byte(obj.Data["gatehouse.yaml"])); err != nil {
						t.Errorf("the control plane would refuse its configuration: %v", err)
					}
				case *rbacv1.ClusterRole:
					checkClusterRole(t, obj, name == "gateway-namespace")
				case *rbacv1.Role:
					checkNoWildcard(t, obj.Name, obj.Rules)
				case *appsv1.Deployment:
					checkPods(t, obj.Name, obj.Spec.Template.Spec)
				case *batchv1.Job:
					checkPods(t, obj.Name, obj.Spec.Template.Spec)
				case *admissionv1.ValidatingWebhookConfiguration:
					for _, hook := range obj.Webhooks {
						checkWebhook(t, hook.Name, hook.Rules, hook.FailurePolicy, hook.SideEffects)
					}
				case *admissionv1.MutatingWebhookConfiguration:
					for _, hook := range obj.Webhooks {
						if hook.Name == zonesWebhook {
							continue
						}
						checkWebhook(t, hook.Name, hook.Rules, hook.FailurePolicy, hook.SideEffects)
					}
				}
			}
			if !configured {
				t.Error("the chart has no ConfigMap")
			}
		})
	}
}

// TestNamespaceIsThereForTheJob: Helm runs the Job before it makes the namespace of the chart, and an installation that
// cannot end says so. An upgrade finds the namespace.
func TestNamespaceIsThereForTheJob(t *testing.T) {
	values := []string{"template", "gatehouse", "gatehouse", "--set=createNamespace=true,certgen.job.enabled=true"}
	if out, err := exec.Command(helm(t), append(values, "--is-upgrade")...).CombinedOutput(); err != nil {
		t.Errorf("an upgrade: %v: %s", err, out)
	}
	out, err := exec.Command(helm(t), values...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "use helm install --create-namespace") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestEnvoyPodsArePulledLikeTheControlPlane: it is told how it is pulled itself, since they run its image too.
func TestEnvoyPodsArePulledLikeTheControlPlane(t *testing.T) {
	found := map[string]string{}
	for _, obj := range decode(t, helmTemplate(t, "gatehouse",
		"--set=global.imagePullSecrets[0].name=a,global.imagePullSecrets[1].name=b",
		"--set=global.images.gatehouse.pullSecrets[0].name=own,global.images.gatehouse.pullPolicy=Always")) {
		if d, ok := obj.(*appsv1.Deployment); ok {
			for _, v := range d.Spec.Template.Spec.Containers[0].Env {
				found[v.Name] = v.Value
			}
		}
	}
	for name, want := range map[string]string{"IMAGE_PULL_SECRETS": "a b own", "GATEHOUSE_PULL_POLICY": "Always"} {
		if found[name] != want {
			t.Errorf("%s is %q, want %q", name, found[name], want)
		}
	}
}

// TestCRDChart holds the chart of the CRDs to one CRD for each kind, kept on uninstall.
func TestCRDChart(t *testing.T) {
	var kinds []string
	for _, obj := range decode(t, helmTemplate(t, "gatehouse-crds", "--set=commonLabels.team=edge")) {
		crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			t.Fatalf("the chart has a %T", obj)
		}
		kinds = append(kinds, crd.Spec.Names.Kind)
		if crd.Annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("uninstalling the chart would delete every %s", crd.Spec.Names.Kind)
		}
	}
	slices.Sort(kinds)
	want := []string{
		rulesv1alpha1.KindAdmissionException, rulesv1alpha1.KindAdmissionRule, v1alpha1.KindBackend,
		v1alpha1.KindBackendTrafficPolicy, v1alpha1.KindClientTrafficPolicy, v1alpha1.KindEnvoyProxy, v1alpha1.KindHTTPRouteFilter,
		v1alpha1.KindSecurityPolicy,
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("CRDs of kinds %v, want %v", kinds, want)
	}
}

// TestChartFitsIntoARelease holds each chart, with all that it renders, under the 1 MiB that a Secret can hold, since
// Helm keeps both in one.
func TestChartFitsIntoARelease(t *testing.T) {
	for _, chart := range []string{"gatehouse", "gatehouse-crds"} {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		parts := []io.Reader{bytes.NewReader(helmTemplate(t, chart))}
		err := filepath.WalkDir(chart, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			parts = append(parts, bytes.NewReader(data))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, io.MultiReader(parts...)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		// Helm encodes its record in base64, and so does the API of Secrets; only the first counts.
		if size := packed.Len() * 4 / 3; size >= 1<<20 {
			t.Errorf("a release of chart %s needs %d bytes", chart, size)
		}
	}
}

// TestMisspeltValue expects a value that the chart does not have to be refused by name.
func TestMisspeltValue(t *testing.T) {
	out, err := exec.Command(helm(t), "template", "gatehouse", "gatehouse", "--set=deployment.replica=2").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "replica") {
		t.Errorf("helm template with a misspelt value: error %v, output %s", err, out)
	}
}

// TestQuickstart decodes the quickstart strictly, and expects the Service to come before the route that needs it, so
// that applying the file warns of nothing.
func TestQuickstart(t *testing.T) {
	data, err := os.ReadFile("quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	service, route := -1, -1
	for i, obj := range decode(t, data) {
		switch obj.(type) {
		case *corev1.Service:
			service = i
		case *gwapiv1.HTTPRoute:
			route = i
		}
	}
	if service < 0 || route < service {
		t.Errorf("the Service is object %d and the HTTPRoute object %d", service, route)
	}
}

// checkPods expects pods to be told of no Service but by DNS.
func checkPods(t *testing.T, name string, pod corev1.PodSpec) {
	t.Helper()
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		t.Errorf("the pods of %s have every Service of the namespace in their environment", name)
	}
}

// TestTwoReplicasByDefault: without two, admission would never fail closed; and a drain of nodes takes one at a time.
func TestTwoReplicasByDefault(t *testing.T) {
	var replicas *int32
	var budget *policyv1.PodDisruptionBudget
	for _, obj := range decode(t, helmTemplate(t, "gatehouse")) {
		switch obj := obj.(type) {
		case *appsv1.Deployment:
			replicas = obj.Spec.Replicas
		case *policyv1.PodDisruptionBudget:
			budget = obj
		}
	}
	if replicas == nil || *replicas != 2 {
		t.Errorf("the control plane has %v replicas, want 2", replicas)
	}
	if budget == nil || budget.Spec.MaxUnavailable.String() != "1" || budget.Spec.MinAvailable != nil {
		t.Errorf("the budget is %v, want one with maxUnavailable 1", budget)
	}
}

// checkWebhook expects a webhook never to see deletes or status updates, and to begin open.
func checkWebhook(t *testing.T, name string, rules []admissionv1.RuleWithOperations,
	policy *admissionv1.FailurePolicyType, effects *admissionv1.SideEffectClass,
) {
	t.Helper()
	for _, rule := range rules {
		for _, operation := range rule.Operations {
			deleted := operation == admissionv1.Delete && name != "validate.gatehouse.dev" // It may fail closed.
			if operation != admissionv1.Create && operation != admissionv1.Update && !deleted {
				t.Errorf("webhook %s is called on %s", name, operation)
			}
		}
		for _, resource := range rule.Resources {
			if strings.ContainsAny(resource, "/*") {
				t.Errorf("webhook %s is called for %s: name the resources, and no subresource", name, resource)
			}
		}
	}
	if policy == nil || *policy != admissionv1.Ignore {
		t.Errorf("webhook %s does not begin with failurePolicy Ignore", name)
	}
	if effects == nil || *effects != admissionv1.SideEffectClassNoneOnDryRun {
		t.Errorf("webhook %s does not say that a dry run has no side effects", name)
	}
}

// helm returns the path of the pinned Helm, or skips the test when it has not been built.
func helm(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../bin/helm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("bin/helm is missing: tests/tools/build.sh helm builds it")
	}
	return path
}

func helmTemplate(t *testing.T, chart string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(helm(t), append([]string{"template", "gatehouse", chart, "--namespace=gatehouse-system"},
		args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("helm template %s: %v\n%s", chart, err, stderr.String())
	}
	return out
}

// decode returns the objects of a YAML stream. It fails the test for a kind or field that does not exist.
func decode(t *testing.T, stream []byte) []runtime.Object {
	t.Helper()
	decoder := serializer.NewCodecFactory(kube.NewScheme(), serializer.EnableStrict).UniversalDeserializer()
	var objs []runtime.Object
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return objs
		}
		if err != nil {
			t.Fatalf("splitting the stream: %v", err)
		}
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		obj, _, err := decoder.Decode(doc, nil, nil)
		if err != nil {
			t.Fatalf("decoding: %v\n%s", err, doc)
		}
		objs = append(objs, obj)
	}
}
