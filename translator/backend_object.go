package translator

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// discovery is how Envoy learns the endpoints of a backend.
type discovery int

const (
	// bySlices: they are in EndpointSlices.
	bySlices discovery = iota
	// byName: DNS has them.
	byName
)

// backendObject is an object that backendRefs can name, of whatever kind.
type backendObject struct {
	destination
	// Ports are those that a reference can name.
	Ports []backendPort
}

// destination is what a backend keeps of its object: who it is, and where its endpoints are found.
type destination struct {
	Kind            *backendKind
	Namespace, Name string
	Discovery       discovery
	// External is the DNS name of the endpoints, as the object has it.
	External string
	// Near is how the object asks for endpoints near by, such as trafficDistribution: PreferSameZone, empty if it does not.
	Near string
}

// backendPort is a port of an object.
type backendPort struct {
	Name        string
	Protocol    corev1.Protocol
	Number      int32
	AppProtocol string
}

func (o *backendObject) equal(other *backendObject) bool {
	return o.destination.equal(&other.destination) && slices.Equal(o.Ports, other.Ports)
}

func (d *destination) equal(o *destination) bool { return d == o || *d == *o }

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
		return d.externalHost()
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
