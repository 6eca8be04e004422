package corpus

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// withoutEnvoys is the EnvoyProxy of classes that have none: verdicts need no Envoy.
const withoutEnvoys = "without-envoys"

// In is the folder in namespaces and with classes of its own: their names end with the suffix, wherever they are. The
// Namespaces are among the objects, with those labels. Objects are in the order in which they are to be created.
func (f Folder) In(suffix string, labels map[string]string) Folder {
	moved := Folder{Name: f.Name}
	namespaces, written := map[string]bool{}, map[string]bool{}
	for _, o := range f.Objects {
		o = o.DeepCopy()
		switch o.GetKind() {
		case "Namespace":
			o.SetName(o.GetName() + suffix)
			merged := maps.Clone(labels)
			maps.Copy(merged, o.GetLabels())
			maps.Copy(merged, labels)
			o.SetLabels(merged)
			written[o.GetName()] = true
		case "GatewayClass":
			o.SetName(o.GetName() + suffix)
		default:
			o.SetNamespace(cmp.Or(o.GetNamespace(), "default"))
		}
		move(o.Object, suffix)
		if o.GetNamespace() != "" {
			namespaces[o.GetNamespace()] = true
		}
		moved.Objects = append(moved.Objects, o)
	}
	for _, name := range slices.Sorted(maps.Keys(namespaces)) {
		if !written[name] {
			namespace := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
			namespace.SetName(name)
			namespace.SetLabels(labels)
			moved.Objects = append(moved.Objects, namespace)
		}
	}
	moved.withoutEnvoys(slices.Min(slices.Collect(maps.Keys(namespaces))))
	slices.SortStableFunc(moved.Objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(ranks[a.GetKind()], ranks[b.GetKind()]), cmp.Compare(a.GetNamespace(), b.GetNamespace()),
			cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetKind(), b.GetKind()))
	})
	return moved
}

// move appends the suffix to all names of namespaces and classes within a value.
func move(value any, suffix string) {
	switch v := value.(type) {
	case map[string]any:
		for key, field := range v {
			text, isText := field.(string)
			switch {
			case isText && text != "" && (key == "namespace" || key == "gatewayClassName" || key == "kubernetes.io/metadata.name"):
				v[key] = text + suffix
			case !isText:
				move(field, suffix)
			}
		}
	case []any:
		for _, item := range v {
			move(item, suffix)
		}
	}
}

// withoutEnvoys gives classes without parameters an EnvoyProxy with no replicas.
func (f *Folder) withoutEnvoys(namespace string) {
	needed := false
	for _, o := range f.Objects {
		spec, _ := o.Object["spec"].(map[string]any)
		if o.GetKind() == "GatewayClass" && spec != nil && spec["parametersRef"] == nil {
			spec["parametersRef"] = map[string]any{
				"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "namespace": namespace, "name": withoutEnvoys,
			}
			needed = true
		}
	}
	if !needed {
		return
	}
	proxy := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyProxy",
		"spec": map[string]any{"provider": map[string]any{
			"type": "Kubernetes", "kubernetes": map[string]any{"envoyDeployment": map[string]any{"replicas": int64(0)}},
		}},
	}}
	proxy.SetNamespace(namespace)
	proxy.SetName(withoutEnvoys)
	f.Objects = append(f.Objects, proxy)
}
