package translator

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
	"gatehouse/translator/status"
)

// Resource is one xDS resource as Envoy gets it: encoded once, shared by all proxies that get it, never changed.
type Resource struct {
	// Type is the type URL, such as type.googleapis.com/envoy.config.cluster.v3.Cluster.
	Type string
	Name string
	// Version is a hash of the body in hex: equal bytes have equal versions on every replica and after every restart.
	Version string
	// Pieces are the encoded message, the value of the Any, one after the other. A route configuration shares those of
	// its virtual hosts with the versions before and after it, and a listener those of its filter chains, so that a change
	// costs the whole length only when it is sent.
	Pieces [][]byte
	// Needs names the resources that Envoy asks for because of this one: a cluster's load assignment, a listener's
	// route configurations and secrets, a route configuration's clusters. Delivery orders changes by it.
	Needs []Name
	// Warms is how long Envoy may take to use a cluster after it has got the endpoints, because it asks them for their
	// health first.
	Warms time.Duration
}

// Body is the encoded message as a whole. It must not be written to.
func (r *Resource) Body() []byte {
	if len(r.Pieces) == 1 {
		return r.Pieces[0]
	}
	return slices.Concat(r.Pieces...)
}

// Size is the length of the body in bytes.
func (r *Resource) Size() (n int) {
	for _, piece := range r.Pieces {
		n += len(piece)
	}
	return n
}

// Name identifies a resource.
type Name struct {
	Type, Name string
}

// MarshalText lets names be keys in JSON: the type, a blank, the name.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.Type + " " + n.Name), nil }

// UnmarshalText reads what MarshalText wrote.
func (n *Name) UnmarshalText(text []byte) error {
	var ok bool
	if n.Type, n.Name, ok = strings.Cut(string(text), " "); !ok {
		return fmt.Errorf("%q is not a name of a resource: write its type, a blank, its name", text)
	}
	return nil
}

// Delta is what one batch changes for one fleet: the proxies of one Gateway.
type Delta struct {
	// Fleet is the key of the Gateway, namespace/name.
	Fleet   string
	Changed []*Resource
	// Removed are resources that new proxies no longer get. A proxy that has one keeps it while another of its
	// resources refers to it. So the certificate of a deleted Secret stays with the proxies that serve it.
	Removed []Name
	// Gone reports whether the fleet no longer exists, because its Gateway was deleted or is no longer ours.
	Gone bool
}

// Proxy is what one connected Envoy is known to have. It is an input of the translation, so that Programmed is a
// function of the tables too.
type Proxy struct {
	// Fleet is the Gateway's namespace/name; Node is Envoy's node id, which is the pod's name.
	Fleet, Node string
	// Listeners maps each acknowledged listener to its version.
	Listeners map[string]string
	// Routes and Secrets are the names of the route configurations and secrets that are acknowledged in some version.
	Routes, Secrets map[string]bool
	// Scopes reports whether scoped routes are acknowledged, in whatever version and number.
	Scopes bool
	// Rejected are the resources that the proxy rejected (NACK), with Envoy's words. They stay until a later version is
	// acknowledged. Replicas of older versions know the field as Refused.
	Rejected map[Name]string `json:"Refused"`
	// Guilty are the parts of resources that proxies of the fleet have rejected, by hash (see Part), with Envoy's
	// messages. They stay as long as the fleet does, because a changed object has other hashes.
	Guilty map[string]string
}

// Finding is a problem and the object that has it.
type Finding struct {
	Object  verdict.Ref
	Problem verdict.Problem
}

// Requirement is what the translation needs from the infrastructure for one Gateway: a fleet of Envoys and a Service in
// front of them.
type Requirement struct {
	Gateway *gwapiv1.Gateway
	// EnvoyProxy holds the fleet's settings; nil means the defaults.
	EnvoyProxy *v1alpha1.EnvoyProxy
	// Ports are the listeners' ports, sorted, each once.
	Ports []Port
	// Hold means that everything must stay as it is, because the Gateway cannot be served as it is written now.
	Hold bool
}

// Port is a port of the fleet's Service.
type Port struct {
	// Name is <protocol>-<port> in lower case, such as http-80.
	Name string
	// Port is the listener's port, Target the port that Envoy binds.
	Port, Target int32
	// Protocol is TCP or UDP.
	Protocol corev1.Protocol
}

// FleetStatus is what the infrastructure reports of a Gateway's proxies: an input of the translation.
type FleetStatus struct {
	// Available and Desired count the proxies.
	Available, Desired int32
	// Addresses are where the Service is reached, in the form of Gateway status, each with its routability. A Gateway
	// has them if it asks for none.
	Addresses []gwapiv1.GatewayStatusAddress
	// Static are those of the Service's spec: its external IPs, then its cluster IPs.
	Static []gwapiv1.GatewayStatusAddress
	// Failure is why its objects cannot be made as they should be; empty if they can.
	Failure string
}

// Fetched is the result of a Fetch: an input of the translation. All replicas read the same stored result. Of large
// content it has no bytes.
type Fetched struct {
	// Key is that of the Fetch.
	Key string
	// Content is what was fetched last and had the right form. It is nil if there was none yet. It must not be written
	// to.
	Content []byte
	// File is the large content that was fetched last. It is zero if there was none yet.
	File File
	// Present reports whether this replica has the bytes of File.
	Present bool
	// Failure is why there is no content yet, in words that fit behind a colon. It is empty if there is content, or if
	// nothing has failed yet.
	Failure string
}

// File is large content that was fetched.
type File = feature.File

func equalFetched(a, b Fetched) bool {
	return a.Key == b.Key && a.Failure == b.Failure && a.File == b.File && a.Present == b.Present &&
		(a.Content == nil) == (b.Content == nil) && bytes.Equal(a.Content, b.Content)
}

func equalFleets(a, b FleetStatus) bool {
	return a.Available == b.Available && a.Desired == b.Desired && a.Failure == b.Failure &&
		status.EqualAddresses(a.Addresses, b.Addresses) && status.EqualAddresses(a.Static, b.Static)
}

func equalProxies(a, b Proxy) bool {
	return a.Fleet == b.Fleet && a.Node == b.Node && a.Scopes == b.Scopes && maps.Equal(a.Listeners, b.Listeners) &&
		maps.Equal(a.Routes, b.Routes) &&
		maps.Equal(a.Secrets, b.Secrets) && maps.Equal(a.Rejected, b.Rejected) && maps.Equal(a.Guilty, b.Guilty)
}

// splitKey splits the key of a resource's row into the fleet and the rest.
func splitKey(key string) (fleet, rest string) {
	fleet, rest, _ = strings.Cut(key, "|")
	return fleet, rest
}
