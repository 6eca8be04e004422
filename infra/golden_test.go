package infra

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"gatehouse/api/config"
	"gatehouse/api/v1alpha1"
	"gatehouse/policies/envoyproxy"
	"gatehouse/translator"
)

// update rewrites what the goldens expect: go test ./infra -run TestGolden -update.
var update = flag.Bool("update", false, "rewrite the expected parts of the goldens")

// TestGolden reads testdata/*.txtar. The first paragraph of each file is a promise. The file has gateway.yaml,
// optionally envoyproxy.yaml and mode, the ports (name, port and target on each line), and the result: each other file
// is named Kind or Kind:path.to.the.part, and has that part of the object.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			req, settings := golden(t, archive)
			objects, err := Desired(req, settings)
			if err != nil {
				t.Fatal(err)
			}
			kept := slices.Clone(archive.Files)
			for i, f := range archive.Files {
				if input(f.Name) {
					continue
				}
				got := part(t, objects, f.Name)
				if *update {
					kept[i].Data = []byte(got)
				} else if diff := cmp.Diff(string(f.Data), got); diff != "" {
					t.Errorf("%s is not what the file says (-file +now); make golden rewrites it:\n%s", f.Name, diff)
				}
			}
			if *update {
				archive.Files = kept
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func input(name string) bool {
	return strings.HasSuffix(name, ".yaml") || name == "ports" || name == "mode"
}

// golden reads the input of a file.
func golden(t *testing.T, archive *txtar.Archive) (translator.Requirement, Settings) {
	t.Helper()
	req := translator.Requirement{
		Gateway: &gwapiv1.Gateway{},
	}
	settings := testSettings()
	for _, f := range archive.Files {
		var err error
		switch f.Name {
		case "gateway.yaml":
			err = yaml.UnmarshalStrict(f.Data, req.Gateway)
		case "envoyproxy.yaml":
			req.EnvoyProxy = &v1alpha1.EnvoyProxy{}
			err = yaml.UnmarshalStrict(f.Data, req.EnvoyProxy)
		case "mode":
			settings.DeployMode = config.DeployType(strings.TrimSpace(string(f.Data)))
		case "ports":
			for line := range strings.Lines(string(f.Data)) {
				var p translator.Port
				if _, err = fmt.Sscan(line, &p.Name, &p.Port, &p.Target); err != nil {
					break
				}
				p.Protocol = corev1.ProtocolTCP
				if strings.HasPrefix(p.Name, "udp-") {
					p.Protocol = corev1.ProtocolUDP
				}
				req.Ports = append(req.Ports, p)
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	req.Gateway.UID = "gateway-uid"
	for _, p := range envoyproxy.Problems(req.EnvoyProxy) {
		t.Errorf("the EnvoyProxy has a problem: %s", p)
	}
	return req, settings
}

func testSettings() Settings {
	return Settings{
		ControllerNamespace: "gatehouse-system",
		EnvoyImage:          "docker.io/envoyproxy/envoy:distroless-v1.40.0",
		GatehouseImage:      "gatehouse:dev",
		XDSHost:             XDSHost("gatehouse-system", "cluster.local"),
		XDSPort:             18000,
		CA:                  []byte("the CA\n"),
	}
}

// part is a part of one of the objects as YAML. It omits the bootstrap, which has its own golden.
func part(t *testing.T, objects []client.Object, name string) string {
	t.Helper()
	kind, path, _ := strings.Cut(name, ":")
	i := slices.IndexFunc(objects, func(o client.Object) bool { return o.GetObjectKind().GroupVersionKind().Kind == kind })
	if i < 0 {
		return "there is none\n"
	}
	text, err := json.Marshal(objects[i])
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' }) {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			index, err := strconv.Atoi(step)
			if err != nil || index >= len(v) {
				t.Fatalf("%s: there is no %s", name, step)
			}
			value = v[index]
		default:
			t.Fatalf("%s: there is no %s", name, step)
		}
	}
	out, err := yaml.Marshal(shortened(value))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// shortened removes the status, which is not requested, and the configuration of Envoy.
func shortened(value any) any {
	switch v := value.(type) {
	case map[string]any:
		delete(v, "status")
		for name, inner := range v {
			v[name] = shortened(inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = shortened(inner)
		}
	case string:
		if strings.HasPrefix(v, `{"static_resources"`) {
			return "(the bootstrap)"
		}
		if strings.HasPrefix(v, `{"resources"`) {
			return "(a secret that Envoy reads from a file)"
		}
	}
	return value
}

func FuzzName(f *testing.F) {
	f.Add("default", "eg", "default", "eg2")
	f.Add("a", "b-c", "a-b", "c")
	f.Add(strings.Repeat("n", 63), strings.Repeat("g.", 100)+"g", strings.Repeat("n", 63), strings.Repeat("g.", 99)+"g")
	f.Fuzz(func(t *testing.T, namespace, name, otherNamespace, otherName string) {
		for _, part := range []string{namespace, otherNamespace} {
			if !label(part) {
				return
			}
		}
		for _, part := range []string{name, otherName} {
			if len(part) > 253 || !everyLabel(part) {
				return
			}
		}
		got := Name(namespace, name)
		if !label(got) {
			t.Errorf("Name(%q, %q) = %q is no DNS label", namespace, name, got)
		}
		same := namespace == otherNamespace && name == otherName
		if other := Name(otherNamespace, otherName); (got == other) != same {
			t.Errorf("%s/%s and %s/%s are named %q and %q", namespace, name, otherNamespace, otherName, got, other)
		}
	})
}

func TestNameIsTheOneThatUsersKnow(t *testing.T) {
	if got, want := Name("default", "eg"), "envoy-default-eg-e41e7b31"; got != want {
		t.Errorf("Name is %q, want %q", got, want)
	}
}

func TestKeyOfFindsTheGatewayOfEveryObject(t *testing.T) {
	for _, name := range []string{"web", strings.Repeat("g", 253)} {
		gateway := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		objects, err := Desired(translator.Requirement{Gateway: gateway}, testSettings())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if got, ok := envoyproxy.KeyOf(o); !ok || got != "shop/"+name {
				t.Errorf("KeyOf the %T is %q, %t", o, got, ok)
			}
			for label, value := range o.GetLabels() {
				if len(value) > 63 {
					t.Errorf("label %s is longer than 63 characters: %s", label, value)
				}
			}
		}
	}
	if key, ok := envoyproxy.KeyOf(&gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}}}); ok {
		t.Errorf("KeyOf an object of somebody else's is %q", key)
	}
}

func everyLabel(name string) bool {
	return !slices.ContainsFunc(strings.Split(name, "."), func(part string) bool { return !label(part) })
}

// label reports whether the text is a DNS label (RFC 1123).
func label(text string) bool {
	if text == "" || len(text) > 63 || text[0] == '-' || text[len(text)-1] == '-' {
		return false
	}
	return strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func TestAccountsAreThoseOfThePods(t *testing.T) {
	name := "edge"
	ep := &v1alpha1.EnvoyProxy{Spec: v1alpha1.EnvoyProxySpec{Provider: &v1alpha1.EnvoyProxyProvider{
		Kubernetes: &v1alpha1.EnvoyProxyKubernetesProvider{EnvoyServiceAccount: &v1alpha1.KubernetesServiceAccountSpec{Name: &name}},
	}}}
	gateway := &gwapiv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	for _, c := range []struct {
		ep   *v1alpha1.EnvoyProxy
		mode config.DeployType
		want []string
	}{
		{nil, config.DeployControllerNamespace, []string{"gatehouse-system/" + Name("shop", "web")}},
		{ep, "", []string{"gatehouse-system/edge"}},
		{nil, config.DeployGatewayNamespace, []string{"shop/web", "gatehouse-system/" + Name("shop", "web")}},
		{ep, config.DeployGatewayNamespace, []string{"shop/edge", "gatehouse-system/edge"}},
	} {
		s := testSettings()
		s.DeployMode = c.mode
		if got := Accounts(translator.Requirement{Gateway: gateway, EnvoyProxy: c.ep}, s); !slices.Equal(got, c.want) {
			t.Errorf("Accounts are %q, want %q", got, c.want)
		}
	}
}

// TestLabelsAloneProveNothing: users may label objects of their own namespaces as if they were a Gateway's fleet.
func TestLabelsAloneProveNothing(t *testing.T) {
	for _, c := range []struct {
		mode      config.DeployType
		namespace string
		want      bool
	}{
		{config.DeployControllerNamespace, "gatehouse-system", true},
		{config.DeployControllerNamespace, "shop", false},
		{config.DeployGatewayNamespace, "shop", true},
		{config.DeployGatewayNamespace, "gatehouse-system", true}, // It may be on the way from there.
		{config.DeployGatewayNamespace, "evil", false},
	} {
		s := testSettings()
		s.DeployMode = c.mode
		o := &metav1.ObjectMeta{Namespace: c.namespace, Labels: envoyproxy.OwnerLabels("shop", "web")}
		if key, owned := s.KeyOf(o); key != "shop/web" || owned != c.want {
			t.Errorf("mode %s, an object in %s: %s %t, want %t", c.mode, c.namespace, key, owned, c.want)
		}
	}
}

// TestEnvoyKnowsItsMemory: Kubernetes passes the memory limit to Envoy, also if only a patch sets it, or nothing does.
func TestEnvoyKnowsItsMemory(t *testing.T) {
	args, err := newPlan(*requirement("web"), testSettings()).envoyArgs()
	if err != nil {
		t.Fatal(err)
	}
	if all, want := strings.Join(args, " "), `"max_heap_size_bytes":"$(ENVOY_MEMORY_LIMIT)"`; !strings.Contains(all,
		want) {
		t.Errorf("the arguments have no %s", want)
	}
}
