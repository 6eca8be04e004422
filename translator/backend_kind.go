package translator

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
	"gatehouse/translator/flow"
)

// backendKind is what the translation must know of a kind of object that backendRefs can name.
type backendKind struct {
	group, name string
	// prefix begins the keys of its objects and slices, and the names of its clusters.
	prefix string
	// label is the label of an EndpointSlice with the name of its object.
	label string
	// setting is the field of the control plane's configuration that enables the kind. It is empty if the kind is
	// always enabled.
	setting string
	// objects declares the table of the kind's objects.
	objects func(t *Tables, kind *backendKind) *flow.Table[*backendObject]
}

// backendKinds is the only list of the served kinds. A backendRef without a kind means the first.
var backendKinds = []*backendKind{
	{
		name: "Service", prefix: "service", label: discoveryv1.LabelServiceName,
		objects: func(t *Tables, kind *backendKind) *flow.Table[*backendObject] {
			return objectsOf(t.in.services, kind, readService)
		},
	},
	{
		group: mcsv1alpha1.GroupName, name: "ServiceImport", prefix: "serviceimport", label: mcsv1alpha1.LabelServiceName,
		objects: func(t *Tables, kind *backendKind) *flow.Table[*backendObject] {
			return objectsOf(t.in.serviceImports, kind, readServiceImport)
		},
	},
	{
		group: v1alpha1.GroupName, name: v1alpha1.KindBackend, prefix: "backend", setting: "extensionApis.enableBackend",
		objects: func(t *Tables, kind *backendKind) *flow.Table[*backendObject] {
			return objectsOf(t.listedBackends, kind, readBackend)
		},
	},
}

// anyBackend names the served kinds in messages.
var anyBackend = verdict.Or(convert(backendKinds, func(k *backendKind) string { return "a " + k.name }))

// backendKindOf is nil for a kind that is not served.
func backendKindOf(ref *gwapiv1.BackendObjectReference) *backendKind {
	for _, k := range backendKinds {
		if string(deref(ref.Group)) == k.group && (ref.Kind == nil && k == backendKinds[0] ||
			string(deref(ref.Kind)) == k.name) {
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

// key is the key of an object of the kind, and of its EndpointSlices.
func (k *backendKind) key(namespace, name string) string {
	return k.prefix + "/" + Key(namespace, name)
}

// ownersOf are the keys of the objects that an EndpointSlice belongs to.
func ownersOf(_ string, s *discoveryv1.EndpointSlice) []string {
	var owners []string
	for _, k := range backendKinds {
		if name := s.Labels[k.label]; name != "" {
			owners = append(owners, k.key(s.Namespace, name))
		}
	}
	return owners
}

// backendObjects declares the table of all objects that backendRefs can name, by their keys.
func (t *Tables) backendObjects() *flow.Table[*backendObject] {
	var tables []*flow.Table[*backendObject]
	for _, k := range backendKinds {
		tables = append(tables, k.objects(t, k))
	}
	return flow.Concat("backends", (*backendObject).equal, tables...)
}

// objectsOf declares the table of the objects of a kind. The keys of in are namespace/name. read sets everything except
// the identity of the object.
func objectsOf[O any](in *flow.Table[O], kind *backendKind, read func(O, *backendObject)) *flow.Table[*backendObject] {
	one := func(_ *flow.Read, key string, o O) []flow.Row[*backendObject] {
		namespace, name, _ := strings.Cut(key, "/")
		row := &backendObject{destination: destination{Kind: kind, Namespace: namespace, Name: name}}
		read(o, row)
		return []flow.Row[*backendObject]{{Key: row.key(), Value: row}}
	}
	return flow.Expand(in, kind.name+"s as backends", (*backendObject).equal, one)
}

func readService(s *corev1.Service, row *backendObject) {
	row.Discovery, row.Near, row.Addresses = bySlices, nearness(s), ownAddresses(s.Spec.ClusterIPs)
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		row.Discovery, row.Endpoints = byName, []listedEndpoint{{Host: s.Spec.ExternalName}}
	}
	for _, p := range s.Spec.Ports {
		row.Ports = append(row.Ports, backendPort{p.Name, protocolOf(&p.Protocol), p.Port, deref(p.AppProtocol)})
	}
}

// ownAddresses are the addresses of a Service; that of a headless one is None.
func ownAddresses(ips []string) []string {
	return slices.DeleteFunc(slices.Clone(ips), func(ip string) bool {
		_, err := netip.ParseAddr(ip)
		return err != nil
	})
}

// readServiceImport: the endpoints of a Service of several clusters are in EndpointSlices too (KEP-1645).
func readServiceImport(s *mcsv1alpha1.ServiceImport, row *backendObject) {
	row.Discovery, row.Near, row.Addresses = bySlices, asksFor(s.Spec.TrafficDistribution), ownAddresses(s.Spec.IPs)
	for _, p := range s.Spec.Ports {
		row.Ports = append(row.Ports, backendPort{p.Name, protocolOf(&p.Protocol), p.Port, deref(p.AppProtocol)})
	}
}
