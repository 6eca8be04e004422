package translator

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"gatehouse/policies"
	"gatehouse/policies/endpoints"
	"gatehouse/translator/flow"
)

// declareSlices: EndpointSlices by the backends that have them.
func (t *Tables) declareSlices() {
	t.slicesByOwner = flow.NewIndex(t.in.slices, "slices by owner", ownersOf)
	t.namesByOwner = flow.NewIndex(t.in.slices, "slices of names by owner", ownersOfNames)
	t.populated = flow.Group(t.slicesByOwner, "backends with endpoints", slices.Equal[[]string], t.populatedPorts)
}

// declareBackends: what routes and policies refer to as backends, and the policies of backends.
func (t *Tables) declareBackends() {
	t.routes = flow.Derive(t.in.routes, "routes", (*routeRow).equal, t.route)
	t.routesByFilter = flow.NewIndex(t.routes, "routes by HTTPRouteFilter", namedFilters)
	t.routesByBackend = flow.NewIndex(t.routes, "routes by Backend", namedBackends)
	t.listedBackends = flow.Derive(t.in.backends, "Backends with their problems", (*listedRow).equal, t.listed)
	t.backends = t.backendObjects()
	t.backendTLS = flow.Derive(t.in.backendTLS, "backend TLS policies", (*backendTLSRow).equal, t.backendTLSPolicy)
	t.securing = declareAttached(t, t.backendTLS, policies.BackendTLS)
	t.misaimedByObject = flow.NewIndex(t.securing.rows, "misaimed backend TLS policies by object", misaimedObject)
	t.budgets = flow.Derive(t.in.budgets, "retry budgets", (*budgetRow).equal, t.budgetPolicy)
	t.budgeting = declareAttached(t, t.budgets, policies.RetryBudget)
}

// discovery is how Envoy learns the endpoints of a backend.
type discovery int

const (
	// bySlices means that the endpoints are in EndpointSlices.
	bySlices discovery = iota
	// byAddress means that the object lists their addresses.
	byAddress
	// byName means that the object lists their DNS names, which Envoy resolves.
	byName
	// byRequest means that the endpoint is the host of each request, which Envoy resolves.
	byRequest
)

// backendObject is an object that backendRefs can name, of whatever kind.
type backendObject struct {
	destination
	// Ports are the ports that references and policies can name.
	Ports []backendPort
	// Own is set if each endpoint has its own port, and is then the port of all references. Its number is 0. Its name
	// is the port number if all endpoints have the same port. It is nil if a reference must name a port.
	Own *backendPort
	// Refused reports whether nothing is sent to the object; its status says why.
	Refused bool
	// Fallback reports whether the object gets requests only when the other backends of a rule cannot.
	Fallback bool
}

// destination is the part of an object that a backend keeps: its identity and where its endpoints are.
type destination struct {
	Kind            *backendKind
	Namespace, Name string
	Discovery       discovery
	// Addresses are those of the Service or the ServiceImport itself, at most one of each family. It is nil if there are
	// none.
	Addresses []string
	// Endpoints are the endpoints in the spec of the object. It is nil if they are in EndpointSlices.
	Endpoints []listedEndpoint
	// TLS is what the object itself says about TLS to its endpoints, nil for nothing.
	TLS *ownTLS
	// Near is the setting with which the object asks for endpoints near by, such as trafficDistribution:
	// PreferSameZone. It is empty if there is none.
	Near string
}

// listedEndpoint is an endpoint that an object lists.
type listedEndpoint struct {
	// Host is its address or DNS name, as it is written in the object.
	Host string
	// Port is 0 if the reference names the port.
	Port int32
	// Hostname replaces its name or address in the host of requests, if Envoy rewrites the host. It may be empty.
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
		d.Discovery == o.Discovery && d.Near == o.Near && d.TLS.equal(o.TLS) && slices.Equal(d.Endpoints, o.Endpoints) &&
		slices.Equal(d.Addresses, o.Addresses)
}

// String names the object in messages.
func (d *destination) String() string {
	return fmt.Sprintf("%s %s/%s", d.Kind.name, d.Namespace, d.Name)
}

// key is the key of the object, and of its EndpointSlices.
func (d *destination) key() string { return d.Kind.key(d.Namespace, d.Name) }

// named reports whether Envoy finds the endpoints with DNS.
func (d *destination) named() bool { return d.Discovery == byName }

// host is the host name for requests to the endpoints.
func (d *destination) host() string {
	if d.named() {
		return endpoints.Name(d.Endpoints[0].Host)
	}
	return d.Name + "." + d.Namespace
}

// listedPorts are the ports as text for messages.
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
