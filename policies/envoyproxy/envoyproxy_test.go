package envoyproxy

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/v1alpha1"
)

// problemCases are settings with the expected messages.
var problemCases = []struct {
	name, spec string
	want       []string
}{
	{"nothing set", "{}", nil},
	{"all in order", `
logging: {level: {default: info, upstream: debug}}
concurrency: 2
extraArgs: [--enable-core-dump]
shutdown: {drainTimeout: 1m30s}
provider:
  type: Kubernetes
  kubernetes:
    envoyDeployment:
      name: edge
      pod: {labels: {team: web}, volumes: [{name: geo, emptyDir: {}}]}
      container: {env: [{name: A, value: b}], volumeMounts: [{name: geo, mountPath: /geo}]}
      initContainers: [{name: fetch}]
      patch: {value: {spec: {template: {spec: {hostNetwork: true}}}}}
    envoyService: {name: edge, patch: {type: JSONMerge, value: {spec: {internalTrafficPolicy: Local}}}}
`, nil},
	{"a logger that Envoy lacks", "logging: {level: {default: info, system: debug}}", []string{
		`spec.logging.level[system]: Envoy has no logger "system": use default, or one of Envoy's, such as upstream, http, connection, filter, router or config`,
	}},
	{"arguments given twice", "{extraArgs: [--log-level=debug, --concurrency, '2'], concurrency: 1}", []string{
		`spec.extraArgs[0]: "--log-level=debug" is given to Envoy already: set spec.logging.level.default instead`,
		`spec.extraArgs[1]: "--concurrency" is given to Envoy already: keep spec.concurrency only`,
	}},
	{"concurrency as an argument", "{extraArgs: [--concurrency, '2']}", nil},
	{"modules without a usable file", "{dynamicModules: [{name: a, source: {local: {path: liba.so}}}, {name: b, source: {type: Local}}]}", []string{
		`spec.dynamicModules[0].source.local.path: "liba.so" is no absolute path: write one, such as /modules/libshop.so`,
		`spec.dynamicModules[1].source.local: a module is a file in Envoy's container: set local.path`,
	}},
	{"a time that is none", "{shutdown: {drainTimeout: 1 minute}}", []string{
		`spec.shutdown.drainTimeout: "1 minute" is not a duration: write one to four numbers of up to five digits, each with h, m, s or ms, such as 1m30s`,
	}},
	{"names that the API server refuses", `
provider: {type: Kubernetes, kubernetes: {envoyService: {name: 1st}, envoyServiceAccount: {name: Edge}}}`, []string{
		`spec.provider.kubernetes.envoyService.name: "1st" cannot be the name of the object: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')`,
		`spec.provider.kubernetes.envoyServiceAccount.name: "Edge" cannot be the name of the object: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
	}},
	{"names used twice and a mount of nothing", `
provider: {type: Kubernetes, kubernetes: {envoyDaemonSet: {
  pod: {labels: {app.kubernetes.io/name: mine}, volumes: [{name: tmp}, {name: a}, {name: a}]},
  container: {env: [{name: ENVOY_POD_NAME, value: x}], volumeMounts: [{name: b, mountPath: /b}]}}}}`, []string{
		`spec.provider.kubernetes.envoyDaemonSet.pod.labels[app.kubernetes.io/name]: the label cannot be set to "mine", since the fleet's objects are found by it: remove it`,
		`spec.provider.kubernetes.envoyDaemonSet.pod.volumes[0].name: the name "tmp" belongs to a volume that every Envoy pod has: choose another`,
		`spec.provider.kubernetes.envoyDaemonSet.pod.volumes[2].name: volume "a" is listed twice: remove one`,
		`spec.provider.kubernetes.envoyDaemonSet.container.env[0].name: the name "ENVOY_POD_NAME" belongs to a variable that every Envoy pod has: choose another`,
		`spec.provider.kubernetes.envoyDaemonSet.container.volumeMounts[0].name: there is no volume "b": add it to spec.provider.kubernetes.envoyDaemonSet.pod.volumes or correct the name`,
	}},
	{"an empty patch", "provider: {type: Kubernetes, kubernetes: {envoyService: {patch: {value: {}}}}}", []string{
		`spec.provider.kubernetes.envoyService.patch.value: the value is empty: write the part of the object that is to change, or leave the patch out`,
	}},
	{"a patch in a string", "provider: {type: Kubernetes, kubernetes: {envoyService: {patch: {value: '{}'}}}}", []string{
		`spec.provider.kubernetes.envoyService.patch.value: the value is not an object: json: cannot unmarshal string into Go value of type map[string]interface {}: write the part of the object that is to change, or leave the patch out`,
	}},
	{
		"a type of patch that does not exist",
		"provider: {type: Kubernetes, kubernetes: {envoyService: {patch: {type: Replace, value: {spec: {type: ClusterIP}}}}}}",
		[]string{
			`spec.provider.kubernetes.envoyService.patch.value: the patch cannot be applied: there is no type "Replace" of patch: correct the field or remove it`,
		},
	},
	{"a patch of a field that the kind lacks", `
provider: {type: Kubernetes, kubernetes: {envoyDeployment: {patch: {type: JSONMerge, value: {spec: {template: {spec: {hostNetwrok: true}}}}}}}}`, []string{
		`spec.provider.kubernetes.envoyDeployment.patch.value: the patch cannot be applied: the patched object is broken: unknown field "spec.template.spec.hostNetwrok": correct the field or remove it`,
	}},
	{"a patch with items that have a list as key", `
provider: {type: Kubernetes, kubernetes: {envoyDaemonSet: {patch: {value: {
  spec: {template: {spec: {volumes: [{name: [a]}, {name: [a]}], $setElementOrder/volumes: [{name: [a]}]}}}}}}}}`, []string{
		`spec.provider.kubernetes.envoyDaemonSet.patch.value: the patch cannot be applied: merging: runtime error: comparing uncomparable type []interface {}: correct the field or remove it`,
	}},
	{"a patch of what identifies the object", `
provider: {type: Kubernetes, kubernetes: {envoyDeployment: {patch: {value: {
  metadata: {name: mine}, spec: {template: {metadata: {labels: {app.kubernetes.io/name: x}}}}}}}}}`, []string{
		`spec.provider.kubernetes.envoyDeployment.patch.value.metadata.name: a patch cannot set it to mine: use the field name beside patch`,
		`spec.provider.kubernetes.envoyDeployment.patch.value.spec.template.metadata.labels[app.kubernetes.io/name]: a patch cannot set it to x: remove it, since the fleet's objects are found by it`,
	}},
}

func TestProblems(t *testing.T) {
	for _, c := range problemCases {
		t.Run(c.name, func(t *testing.T) {
			ep := &v1alpha1.EnvoyProxy{}
			if err := yaml.UnmarshalStrict([]byte(c.spec), &ep.Spec); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range Problems(ep) {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnvoyKnowsTheLoggers(t *testing.T) {
	envoy := filepath.Join("..", "..", "bin", "envoy")
	levels := ""
	for _, logger := range loggers {
		levels += "," + logger + ":info"
	}
	for name, c := range map[string]struct {
		levels string
		ok     bool
	}{"every logger of the list": {levels[1:], true}, "a logger beside it": {"nobody:info", false}} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(envoy); err != nil {
				t.Skip("there is no bin/envoy: make it to run this test")
			}
			out, err := exec.Command(envoy, "--mode", "validate", "--config-yaml", "{}", "--use-dynamic-base-id",
				"--component-log-level", c.levels).CombinedOutput()
			if (err == nil) != c.ok {
				t.Errorf("Envoy accepts it: %t, want %t: %s", err == nil, c.ok, out)
			}
		})
	}
}

func TestPatch(t *testing.T) {
	replicas := int32(3)
	object := appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &replicas}}
	object.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd", "zone": "a"}
	for _, c := range []struct {
		name  string
		merge v1alpha1.MergeType
		patch string
		want  func(*appsv1.Deployment)
	}{
		{
			"a strategic merge changes what it names", v1alpha1.StrategicMerge,
			`{"spec":{"template":{"spec":{"nodeSelector":{"zone":"b"}}}}}`,
			func(d *appsv1.Deployment) { d.Spec.Template.Spec.NodeSelector["zone"] = "b" },
		},
		{
			"null removes a field", v1alpha1.JSONMerge,
			`{"spec":{"replicas":null,"template":{"spec":{"nodeSelector":{"zone":null}}}}}`,
			func(d *appsv1.Deployment) {
				d.Spec.Replicas = nil
				delete(d.Spec.Template.Spec.NodeSelector, "zone")
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Patch(object, &v1alpha1.KubernetesPatchSpec{
				Type:  &c.merge,
				Value: apiextensionsv1.JSON{Raw: []byte(c.patch)},
			})
			if err != nil {
				t.Fatal(err)
			}
			want := object.DeepCopy()
			c.want(want)
			if diff := cmp.Diff(*want, got); diff != "" {
				t.Errorf("patched (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzPatch(f *testing.F) {
	f.Add(`{"spec":{"replicas":2}}`, true)
	f.Add(`{"spec":{"template":{"spec":{"containers":[{"name":"envoy","image":"x"}]}}}}`, false)
	f.Add(`{"spec":{"template":{"spec":{"$setElementOrder/containers":[{"name":"a"}]}}}}`, false)
	f.Add(`{"metadata":null}`, true)
	f.Fuzz(func(t *testing.T, value string, rfc7386 bool) {
		kind := v1alpha1.StrategicMerge
		if rfc7386 {
			kind = v1alpha1.JSONMerge
		}
		patch := &v1alpha1.KubernetesPatchSpec{Type: &kind, Value: apiextensionsv1.JSON{Raw: []byte(value)}}
		once, err := Patch(appsv1.Deployment{}, patch)
		if err != nil || !rfc7386 {
			return
		}
		twice, err := Patch(once, patch)
		if err != nil {
			t.Fatalf("the patch applies once, but then not again: %v", err)
		}
		a, errA := json.Marshal(once)
		b, errB := json.Marshal(twice)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("applying the patch again changes the object:\n%s\n%s", a, b)
		}
	})
}
