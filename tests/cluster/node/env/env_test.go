package env

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExpand(t *testing.T) {
	vars := Vars{"A": "1", "B": "$(A)"}
	for in, want := range map[string]string{
		"":             "",
		"$(A)":         "1",
		"x$(A)y$(B)z":  "x1y$(A)z",
		"$$(A)":        "$(A)",
		"$$$(A)":       "$1",
		"$(C)":         "$(C)",
		"$(A":          "$(A",
		"$A $":         "$A $",
		"--id=$(A)$$x": "--id=1$x",
	} {
		if got := Expand(in, vars); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

// objects is a Sources with one ConfigMap, "settings", one Secret, "keys", and the Services of a namespace "ns".
type objects struct{}

func (objects) ConfigMap(_, name string) *corev1.ConfigMap {
	if name != "settings" {
		return nil
	}
	return &corev1.ConfigMap{Data: map[string]string{"level": "debug", "not-a-name": "x", "not a name": "y"}}
}

func (objects) Secret(_, name string) *corev1.Secret {
	if name != "keys" {
		return nil
	}
	return &corev1.Secret{Data: map[string][]byte{"password": []byte("hush")}}
}

func (objects) Services(namespace string) []*corev1.Service {
	service := func(name, ip string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{
				Name: "https", Port: 443,
				Protocol: corev1.ProtocolTCP,
			}}},
		}
	}
	if namespace == corev1.NamespaceDefault {
		return []*corev1.Service{service("kubernetes", "10.96.0.1"), service("unrelated", "10.96.0.2")}
	}
	return []*corev1.Service{service("my-db", "10.96.0.3"), service("headless", corev1.ClusterIPNone)}
}

func TestOf(t *testing.T) {
	no := false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{EnableServiceLinks: &no},
		Status:     corev1.PodStatus{PodIP: "10.244.0.2"},
	}
	named := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	c := &corev1.Container{
		Name: "c",
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("1500m"),
			corev1.ResourceMemory: resource.MustParse("64Mi"),
		}},
		EnvFrom: []corev1.EnvFromSource{
			{Prefix: "CFG_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("settings")}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("keys")}},
		},
		Env: []corev1.EnvVar{
			{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			{Name: "APP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
			{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
			{Name: "MEMORY", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
			{Name: "URL", Value: "http://$(IP):$(KUBERNETES_SERVICE_PORT)/$(password)"},
		},
	}
	pod.Spec.Containers = []corev1.Container{*c}
	got, err := Of(pod, c, objects{})
	if err != nil {
		t.Fatal(err)
	}
	want := Vars{
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
		"KUBERNETES_PORT": "tcp://10.96.0.1:443", "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443",
		"KUBERNETES_PORT_443_TCP_PROTO": "tcp",
		"KUBERNETES_PORT_443_TCP_PORT":  "443", "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
		"CFG_level": "debug", "CFG_not-a-name": "x", "password": "hush",
		"IP": "10.244.0.2", "APP": "x", "CPU": "2", "MEMORY": "64", "URL": "http://10.244.0.2:443/hush",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	pod.Spec.EnableServiceLinks = nil
	if got, err = Of(pod, c, objects{}); err != nil || got["MY_DB_SERVICE_HOST"] != "10.96.0.3" ||
		got["HEADLESS_SERVICE_HOST"] != "" {
		t.Errorf("service links: %v %v", got, err)
	}
}

func TestMissing(t *testing.T) {
	yes := true
	key := func(optional *bool) corev1.EnvVar {
		return corev1.EnvVar{
			Name:      "V",
			ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}, Key: "user", Optional: optional}},
		}
	}
	if _, err := Of(&corev1.Pod{}, &corev1.Container{Env: []corev1.EnvVar{key(nil)}}, objects{}); err == nil ||
		!strings.Contains(err.Error(), `no key "user"`) {
		t.Errorf("a missing key: %v", err)
	}
	got, err := Of(&corev1.Pod{}, &corev1.Container{Env: []corev1.EnvVar{key(&yes)}}, objects{})
	if _, set := got["V"]; err != nil || set {
		t.Errorf("an optional missing key: %v %v", got, err)
	}
	bad := corev1.EnvVar{
		Name:      "V",
		ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.tolerations"}},
	}
	if _, err := Of(&corev1.Pod{}, &corev1.Container{Env: []corev1.EnvVar{bad}}, objects{}); err == nil ||
		!strings.Contains(err.Error(), "spec.tolerations") {
		t.Errorf("an unknown field: %v", err)
	}
}
