package translator

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/policies/endpoints"
)

// discovery is how Envoy learns the endpoints of a backend.
type discovery int

const (
	// bySlices: they are in EndpointSlices.
	bySlices discovery = iota
	// byAddress: the object lists their addresses.
	byAddress
	// byName: the object lists their names, and DNS has the addresses.
	byName
)

// backendObject is an object that backendRefs can name, of whatever kind.
type backendObject struct {
	destination
	// Ports are those that a reference can name, and a policy.
	Ports []backendPort
	// Own is the port of a reference where each endpoint has a port of its own: its number is 0, and its name is that of
	// the port if all have the same. It is nil where a reference names a port.
	Own *backendPort
	// Refused tells that nothing is sent to the object, as its status says.
	Refused bool
	// Fallback tells that the other backends of a rule come first.
	Fallback bool
}

// destination is what a backend keeps of its object: who it is, and where its endpoints are found.
type destination struct {
	Kind            *backendKind
	Namespace, Name string
	Discovery       discovery
	// Endpoints are those that the object lists, nil if they are in EndpointSlices.
	Endpoints []listedEndpoint
	// Near is how the object asks for endpoints near by, such as trafficDistribution: PreferSameZone, empty if it does
	// not.
	Near string
}

// listedEndpoint is an endpoint that an object lists.
type listedEndpoint struct {
	// Host is its address or DNS name as the object has it.
	Host string
	// Port is 0 if it is that of the reference.
	Port int32
	// Hostname is what it is called, empty if that is its name, or nothing.
	Hostname string
	Zone     string
}

// backendPort is a port of an object.
type backendPort struct {
	Name        string
	Protocol    corev1.Protocol
	Number      int32
	AppProtocol string
}

func (o *backendObject) equal(other *backendObject) bool {
	return o.destination.equal(&other.destination) && slices.Equal(o.Ports, other.Ports) &&
		deref(o.Own) == deref(other.Own) && (o.Own == nil) == (other.Own == nil) &&
		o.Refused == other.Refused && o.Fallback == other.Fallback
}

func (d *destination) equal(o *destination) bool {
	return d == o || d.Kind == o.Kind && d.Namespace == o.Namespace && d.Name == o.Name &&
		d.Discovery == o.Discovery && d.Near == o.Near && slices.Equal(d.Endpoints, o.Endpoints)
}

// String names the object in messages.
func (d *destination) String() string {
	return fmt.Sprintf("%s %s/%s", d.Kind.name, d.Namespace, d.Name)
}

// key is how the object is found, and its EndpointSlices.
func (d *destination) key() string { return d.Kind.key(d.Namespace, d.Name) }

// named reports whether DNS has the endpoints, which Envoy asks.
func (d *destination) named() bool { return d.Discovery == byName }

// host is what the endpoints are called by who speaks to them.
func (d *destination) host() string {
	if d.named() {
		return endpoints.Name(d.Endpoints[0].Host)
	}
	return d.Name + "." + d.Namespace
}

// hasPort reports whether a section is a port of the object, or all of it.
func (o *backendObject) hasPort(section string) bool {
	return section == "" || slices.ContainsFunc(o.Ports, func(p backendPort) bool { return p.Name == section })
}

// listedPorts are the ports in words.
func (o *backendObject) listedPorts() string {
	if len(o.Ports) == 0 {
		return "no ports"
	}
	text := "ports"
	for i, p := range o.Ports {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(" %d", p.Number)
		if p.Protocol == corev1.ProtocolUDP {
			text += "/UDP"
		}
	}
	return text
}

// protocolOf is a protocol with Kubernetes' default.
func protocolOf(p *corev1.Protocol) corev1.Protocol { return cmp.Or(deref(p), corev1.ProtocolTCP) }
