// Package env computes a container's environment, command and arguments from its pod, as a kubelet does.
package env

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"gatehouse/tests/cluster/node/field"
)

// Sources finds what an environment may refer to. A missing object is nil.
type Sources interface {
	ConfigMap(namespace, name string) *corev1.ConfigMap
	Secret(namespace, name string) *corev1.Secret
	// Services lists the Services of a namespace.
	Services(namespace string) []*corev1.Service
}

// Of returns the environment of a container as NAME=value entries in the order of their names. The pod must have its
// addresses in its status. An error says which required object or key is missing.
func Of(pod *corev1.Pod, c *corev1.Container, from Sources) (Vars, error) {
	vars := serviceVars(pod, from)
	for _, e := range c.EnvFrom {
		data, err := bulk(pod.Namespace, e, from)
		if err != nil {
			return nil, err
		}
		for name, value := range data {
			if len(validation.IsEnvVarName(e.Prefix+name)) == 0 {
				vars[e.Prefix+name] = value
			}
		}
	}
	for _, e := range c.Env {
		value := Expand(e.Value, vars)
		if e.ValueFrom != nil {
			found, ok, err := reference(pod, c, e.ValueFrom, from)
			if err != nil {
				return nil, fmt.Errorf("environment variable %s: %w", e.Name, err)
			}
			if !ok {
				continue // An optional reference to nothing leaves the variable unset.
			}
			value = found
		}
		vars[e.Name] = value
	}
	return vars, nil
}

// Vars is an environment.
type Vars map[string]string

// Environ returns the environment as NAME=value entries.
func (v Vars) Environ() []string {
	entries := make([]string, 0, len(v))
	for _, name := range slices.Sorted(maps.Keys(v)) {
		entries = append(entries, name+"="+v[name])
	}
	return entries
}

// Expand replaces $(NAME) by the variable's value. $$ stands for one $, and a reference to an unknown variable stays as
// it is written, as the Kubernetes API says of container commands.
func Expand(s string, vars Vars) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		s = after
		switch {
		case strings.HasPrefix(s, "$"):
			b.WriteByte('$')
			s = s[1:]
		case strings.HasPrefix(s, "("):
			name, rest, closed := strings.Cut(s[1:], ")")
			value, known := vars[name]
			switch {
			case !closed:
				b.WriteString("$" + s)
				return b.String()
			case known:
				b.WriteString(value)
			default:
				b.WriteString("$(" + name + ")")
			}
			s = rest
		default:
			b.WriteByte('$')
		}
	}
}

// ExpandAll is Expand for each element.
func ExpandAll(all []string, vars Vars) []string {
	expanded := make([]string, len(all))
	for i, s := range all {
		expanded[i] = Expand(s, vars)
	}
	return expanded
}

func bulk(namespace string, e corev1.EnvFromSource, from Sources) (map[string]string, error) {
	data := map[string]string{}
	if ref := e.ConfigMapRef; ref != nil {
		switch found := from.ConfigMap(namespace, ref.Name); {
		case found != nil:
			maps.Copy(data, found.Data)
		case !yes(ref.Optional):
			return nil, fmt.Errorf("configmap %q not found", ref.Name)
		}
	}
	if ref := e.SecretRef; ref != nil {
		switch found := from.Secret(namespace, ref.Name); {
		case found != nil:
			for k, v := range found.Data {
				data[k] = string(v)
			}
		case !yes(ref.Optional):
			return nil, fmt.Errorf("secret %q not found", ref.Name)
		}
	}
	return data, nil
}

// reference returns the value that a valueFrom refers to, and whether there is one.
func reference(pod *corev1.Pod, c *corev1.Container, ref *corev1.EnvVarSource, from Sources) (string, bool, error) {
	switch {
	case ref.FieldRef != nil:
		value, err := field.Value(pod, ref.FieldRef.FieldPath)
		return value, true, err
	case ref.ResourceFieldRef != nil:
		value, err := field.Resource(pod, c.Name, ref.ResourceFieldRef)
		return value, true, err
	case ref.ConfigMapKeyRef != nil:
		r := ref.ConfigMapKeyRef
		if found := from.ConfigMap(pod.Namespace, r.Name); found != nil {
			if value, ok := found.Data[r.Key]; ok {
				return value, true, nil
			}
		}
		return "", false, missing("configmap", r.Name, r.Key, r.Optional)
	case ref.SecretKeyRef != nil:
		r := ref.SecretKeyRef
		if found := from.Secret(pod.Namespace, r.Name); found != nil {
			if value, ok := found.Data[r.Key]; ok {
				return string(value), true, nil
			}
		}
		return "", false, missing("secret", r.Name, r.Key, r.Optional)
	}
	return "", false, fmt.Errorf("valueFrom %v is of a kind that this node does not know", ref)
}

func missing(kind, name, key string, optional *bool) error {
	if yes(optional) {
		return nil
	}
	return fmt.Errorf("%s %q not found, or it has no key %q", kind, name, key)
}

func yes(b *bool) bool { return b != nil && *b }

// serviceVars returns the variables by which a pod finds the API server and, unless it opts out, the Services of its
// namespace.
func serviceVars(pod *corev1.Pod, from Sources) Vars {
	vars := Vars{}
	for _, s := range from.Services(corev1.NamespaceDefault) {
		if s.Name == "kubernetes" {
			addService(vars, s)
		}
	}
	if pod.Spec.EnableServiceLinks != nil && !*pod.Spec.EnableServiceLinks {
		return vars
	}
	for _, s := range from.Services(pod.Namespace) {
		addService(vars, s)
	}
	return vars
}

func addService(vars Vars, s *corev1.Service) {
	ip := s.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	name := variable(s.Name)
	vars[name+"_SERVICE_HOST"] = ip
	vars[name+"_SERVICE_PORT"] = fmt.Sprint(s.Spec.Ports[0].Port)
	for i, p := range s.Spec.Ports {
		port := fmt.Sprint(p.Port)
		protocol := strings.ToLower(string(p.Protocol))
		link := fmt.Sprintf("%s_PORT_%s_%s", name, port, strings.ToUpper(protocol))
		url := protocol + "://" + net.JoinHostPort(ip, port)
		if i == 0 {
			vars[name+"_PORT"] = url
		}
		if p.Name != "" {
			vars[name+"_SERVICE_PORT_"+variable(p.Name)] = port
		}
		maps.Copy(vars, Vars{link: url, link + "_PROTO": protocol, link + "_PORT": port, link + "_ADDR": ip})
	}
}

func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
