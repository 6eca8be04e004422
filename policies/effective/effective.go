// Package effective is the effective configuration as data: what the translation makes of all objects together, for
// rules of policy as code and for people. The translation fills it (translator/effective.go), and features say their
// parts of it (feature.Effective).
//
// The comments and the JSON names are for users: docs/effective.md is generated from them.
package effective

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// Configuration is what takes effect: of everything, or of what a change touches.
type Configuration struct {
	// Routes are the rules of routes, each on each listener that it is attached to.
	Routes []*Route `json:"routes"`
	// Listeners are the listeners of Gateways and of ListenerSets.
	Listeners []*Listener `json:"listeners"`
	// Cut is true if there is more than the lists hold. Nobody may conclude then that something is not there.
	Cut bool `json:"cut"`
}

// Route is a rule of a route on a listener. A route that is not attached to a listener has none.
type Route struct {
	// Kind is HTTPRoute, GRPCRoute, TLSRoute, TCPRoute or UDPRoute.
	Kind string `json:"kind"`
	// Namespace is that of the route.
	Namespace string `json:"namespace"`
	// Name is that of the route.
	Name string `json:"name"`
	// Labels are those of the route, for exceptions. Rules do not see them.
	Labels map[string]string `json:"-"`
	// Parent is the index of the parentRef by which the route is attached to the listener.
	Parent int64 `json:"parent"`
	// Rule is the index of the rule.
	Rule int64 `json:"rule"`
	// RuleName is the name of the rule.
	RuleName string `json:"ruleName,omitempty"`
	// Matches are what the rule matches. A rule without any matches everything.
	Matches []Match `json:"matches,omitempty"`
	// Hostnames are the hosts that the route serves on the listener: "*" stands for all, "*.example.com" for all below.
	Hostnames []string `json:"hostnames"`
	// Listener is the listener.
	Listener *Entry `json:"listener"`
	// Closed is true if nothing is served: requests are answered with an error, connections are closed. A rule that asks
	// for something can let such routes pass. What is said about them holds once they are corrected.
	Closed bool `json:"closed"`

	feature.Effective `json:",inline"`

	// Backends are the usable backends of the rule. The problems say why others cannot be used.
	Backends []Backend `json:"backends,omitempty"`
	// Policies are the policies of the rule, the route, the listener and the Gateway. For each kind, the most specific
	// policy comes first.
	Policies []Policy `json:"policies,omitempty"`
	// Problems are those of the route and of the policies in effect.
	Problems []Problem `json:"problems,omitempty"`
}

// Match is what a rule matches: requests that meet all of it.
type Match struct {
	// Path is the path. For GRPCRoutes it is made of the service and the method.
	Path *Value `json:"path,omitempty"`
	// Method is the HTTP method.
	Method string `json:"method,omitempty"`
	// Headers are the required headers.
	Headers []NamedValue `json:"headers,omitempty"`
	// QueryParams are the required query parameters.
	QueryParams []NamedValue `json:"queryParams,omitempty"`
}

// Value is what something is compared with.
type Value struct {
	// Type is Exact, PathPrefix or RegularExpression.
	Type string `json:"type"`
	// Value is the text.
	Value string `json:"value"`
}

// NamedValue is what a header or a query parameter is compared with.
type NamedValue struct {
	// Name is its name.
	Name string `json:"name"`
	// Type is Exact or RegularExpression.
	Type string `json:"type"`
	// Value is the text.
	Value string `json:"value"`
}

// Entry is a listener as it is written, with how it treats TLS and clients.
type Entry struct {
	// Name is the name of the listener.
	Name string `json:"name"`
	// Owner is the Gateway or the ListenerSet that has the listener.
	Owner feature.ObjectName `json:"owner"`
	// OwnerLabels are the labels of the owner, for exceptions. Rules do not see them.
	OwnerLabels map[string]string `json:"-"`
	// Gateway is the Gateway whose Envoys serve it.
	Gateway Gateway `json:"gateway"`
	// Protocol is HTTP, HTTPS, TLS, TCP or UDP.
	Protocol string `json:"protocol"`
	// Port is the port.
	Port int64 `json:"port"`
	// Hostname is the hostname, "*" for all.
	Hostname string `json:"hostname"`
	// TLS is how TLS with clients is treated. Listeners for HTTP, TCP and UDP have none.
	TLS *TLS `json:"tls,omitempty"`
	// Authentication is what the filters of the listener ask of clients, for all of its routes.
	Authentication *feature.Authentication `json:"authentication,omitempty"`
	// Clients are the limits and the checks for clients and their requests.
	Clients *feature.Clients `json:"clients,omitempty"`
}

// Gateway is a Gateway.
type Gateway struct {
	// Namespace is its namespace.
	Namespace string `json:"namespace"`
	// Name is its name.
	Name string `json:"name"`
	// Class is the name of its GatewayClass.
	Class string `json:"class"`
	// Labels are its labels, such as one that says that it is reachable from outside.
	Labels map[string]string `json:"labels,omitempty"`
}

// TLS is how a listener treats TLS.
type TLS struct {
	// Mode is Terminate or Passthrough.
	Mode string `json:"mode"`
	// MinVersion is the lowest version of TLS that is spoken, such as 1.2, if TLS is terminated.
	MinVersion string `json:"minVersion,omitempty"`
	// MaxVersion is the highest one.
	MaxVersion string `json:"maxVersion,omitempty"`
	// Certificates are the certificates that the listener serves. Unusable certificates are left out.
	Certificates []Certificate `json:"certificates,omitempty"`
	// ClientValidation is how certificates of clients are verified.
	ClientValidation *ClientValidation `json:"clientValidation,omitempty"`
}

// Certificate is a certificate that a listener serves.
type Certificate struct {
	// Secret has the certificate.
	Secret feature.ObjectName `json:"secret"`
	// Names are the DNS names that it is for.
	Names []string `json:"names,omitempty"`
	// Subject is its subject, as RFC 2253 writes names.
	Subject string `json:"subject,omitempty"`
	// Issuer is its issuer.
	Issuer string `json:"issuer,omitempty"`
	// NotBefore is when it begins to be valid.
	NotBefore *metav1.Time `json:"notBefore,omitempty"`
	// NotAfter is when it ends to be valid.
	NotAfter *metav1.Time `json:"notAfter,omitempty"`
	// IssuedBy is the issuer that a Certificate of cert-manager names for the Secret, if cert-manager says that it is
	// issued. Whoever may write the Secret or the Certificate can change this; a rule that must be sure reads issuer.
	IssuedBy *feature.ObjectName `json:"issuedBy,omitempty"`
}

// ClientValidation is how certificates of clients are verified.
type ClientValidation struct {
	// Mode is AllowValidOnly, or AllowInsecureFallback if clients without a valid certificate are let in.
	Mode string `json:"mode"`
	// Authorities are the objects with the CA certificates.
	Authorities []feature.ObjectName `json:"authorities"`
}

// Listener is a listener, and who uses it.
type Listener struct {
	Entry `json:",inline"`

	// Closed is true if the listener serves nothing, or answers everything with an error.
	Closed bool `json:"closed"`
	// Kinds are the kinds of routes that may be attached.
	Kinds []string `json:"kinds,omitempty"`
	// Namespaces are those whose routes may be attached.
	Namespaces Namespaces `json:"namespaces"`
	// Policies are the ClientTrafficPolicies that are attached, the most specific one first.
	Policies []Policy `json:"policies,omitempty"`
	// Problems are those of the listener, its Gateway and its policy.
	Problems []Problem `json:"problems,omitempty"`
}

// Namespaces are namespaces whose routes may be attached to a listener.
type Namespaces struct {
	// From is Same, Selector, All or None.
	From string `json:"from"`
	// Names lists these namespaces. It is absent if from is All.
	Names []string `json:"names,omitempty"`
}

// Backend is a backend that gets requests.
type Backend struct {
	// Kind is Service, ServiceImport or Backend.
	Kind string `json:"kind"`
	// Namespace is its namespace.
	Namespace string `json:"namespace"`
	// Name is its name.
	Name string `json:"name"`
	// Port is the port. A Backend has none.
	Port *int64 `json:"port,omitempty"`
	// Weight is its share of the requests, in proportion to the sum of all.
	Weight int64 `json:"weight"`
	// Fallback is true if it gets requests only when no other backend has a usable endpoint.
	Fallback bool `json:"fallback"`
	// TLS is how Envoy uses TLS to it. Without it, Envoy speaks plain text.
	TLS *BackendTLS `json:"tls,omitempty"`
}

// BackendTLS is how Envoy uses TLS to a backend.
type BackendTLS struct {
	// Policy is the BackendTLSPolicy. Without one, the Backend asks for TLS itself.
	Policy *feature.ObjectName `json:"policy,omitempty"`
	// Hostname is the name that the certificate of the backend must be for. Without it, this is the host name of the
	// endpoint or the host of the request.
	Hostname string `json:"hostname,omitempty"`
	// Unverified is true if the certificate of the backend is not verified.
	Unverified bool `json:"unverified,omitempty"`
	// Authorities are the objects with the CA certificates. Without any, those of Envoy's system are trusted.
	Authorities []feature.ObjectName `json:"authorities,omitempty"`
}

// Policy is a policy that is attached.
type Policy struct {
	// Kind is its kind, such as SecurityPolicy.
	Kind string `json:"kind"`
	// Namespace is its namespace.
	Namespace string `json:"namespace"`
	// Name is its name.
	Name string `json:"name"`
	// Target is what it is attached to.
	Target Target `json:"target"`
	// Effective is true if the policy takes effect, alone or merged with others, and false if a more specific one
	// replaces it.
	Effective bool `json:"effective"`
}

// Target is what a policy is attached to.
type Target struct {
	// Kind is its kind, such as Gateway.
	Kind string `json:"kind"`
	// Namespace is its namespace.
	Namespace string `json:"namespace"`
	// Name is its name.
	Name string `json:"name"`
	// Section is the name of a listener or a rule of it.
	Section string `json:"section,omitempty"`
}

// Problem is a problem of an object.
type Problem struct {
	// Object is the object.
	Object feature.ObjectName `json:"object"`
	// Field is the path of the field.
	Field string `json:"field,omitempty"`
	// Reason is the reason of the condition that reports it.
	Reason string `json:"reason"`
	// Message says what is wrong, and the way out.
	Message string `json:"message"`
	// Weight is Invalid, Unresolved or Conflicted.
	Weight string `json:"weight"`
}

// Object is the name of an object.
type Object = feature.ObjectName

// ObjectOf is the name of an object.
func ObjectOf(ref verdict.Ref) Object {
	return Object{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name}
}

// ProblemsOf are the problems of an object.
func ProblemsOf(ref verdict.Ref, problems []verdict.Problem) []Problem {
	told := make([]Problem, len(problems))
	for i, p := range problems {
		told[i] = Problem{
			Object: ObjectOf(ref), Field: p.Field, Reason: p.Reason, Message: p.Message, Weight: p.Weight.String(),
		}
	}
	return told
}
