package translator

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"gatehouse/translator/flow"
)

// backendKind is what the translation must know of a kind of object that backendRefs can name.
type backendKind struct {
	group, name string
	// prefix begins the names of its clusters, and the keys of its slices.
	prefix string
	// label is where an EndpointSlice says whose it is.
	label string
	// find answers with the object as a Service.
	find func(t *Tables, r *flow.Read, key string) (*corev1.Service, bool)
}

// backendKinds are the served ones: the only place where they are listed. The first is the one that a backendRef means without a kind.
var backendKinds = []*backendKind{
	{
		name: "Service", prefix: "service", label: discoveryv1.LabelServiceName,
		find: func(t *Tables, r *flow.Read, key string) (*corev1.Service, bool) { return t.in.services.Get(r, key) },
	},
	{
		group: mcsv1alpha1.GroupName, name: "ServiceImport", prefix: "serviceimport", label: mcsv1alpha1.LabelServiceName,
		find: func(t *Tables, r *flow.Read, key string) (*corev1.Service, bool) {
			imported, ok := t.in.serviceImports.Get(r, key)
			if !ok {
				return nil, false
			}
			return asService(imported), true
		},
	},
}

// backendKindOf is nil for a kind that is not served.
func backendKindOf(ref *gwapiv1.BackendObjectReference) *backendKind {
	for _, k := range backendKinds {
		if string(deref(ref.Group)) == k.group && (ref.Kind == nil && k == backendKinds[0] || string(deref(ref.Kind)) == k.name) {
			return k
		}
	}
	return nil
}

// backendKindNamed is the served kind of that name, nil if there is none.
func backendKindNamed(name string) *backendKind {
	for _, k := range backendKinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// asService has what a backend needs of a Service of several clusters: its ports, and where it wants its requests. Its endpoints are in EndpointSlices too (KEP-1645).
func asService(imported *mcsv1alpha1.ServiceImport) *corev1.Service {
	s := &corev1.Service{}
	s.Namespace, s.Name = imported.Namespace, imported.Name
	s.Spec.TrafficDistribution = imported.Spec.TrafficDistribution
	for _, p := range imported.Spec.Ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, AppProtocol: p.AppProtocol, Port: p.Port})
	}
	return s
}

// ownersOf are the keys of those that an EndpointSlice says it is of.
func ownersOf(_ string, s *discoveryv1.EndpointSlice) []string {
	var owners []string
	for _, k := range backendKinds {
		if name := s.Labels[k.label]; name != "" {
			owners = append(owners, k.slicesOf(s.Namespace, name))
		}
	}
	return owners
}

func (k *backendKind) slicesOf(namespace, name string) string {
	return k.prefix + "/" + Key(namespace, name)
}
