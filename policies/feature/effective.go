package feature

import (
	"google.golang.org/protobuf/types/known/durationpb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/verdict"
)

// Effective is what features say about the requests of a route, or about a listener, for those who judge it. Each
// feature sets its own part. What no feature says is absent.
//
// The comments and the JSON names are for users: docs/effective.md is generated from them.
type Effective struct {
	// Namespace is that of the object whose spec a feature reads. It is set before the features are called.
	Namespace string `json:"-"`

	// Authentication is what a client must prove before a request is served.
	Authentication *Authentication `json:"authentication,omitempty"`
	// Authorization is which clients are allowed. For TCP and TLS it decides about connections.
	Authorization *Authorization `json:"authorization,omitempty"`
	// CORS is which web origins may send requests from a browser.
	CORS *CORS `json:"cors,omitempty"`
	// CSRF says that requests which change something have to come from pages of the host that they are for.
	CSRF *CSRF `json:"csrf,omitempty"`
	// Timeouts are how long requests, and connections to backends, may take.
	Timeouts *Timeouts `json:"timeouts,omitempty"`
	// Retries are how often a request, or a connection, that failed is tried again. Without it, only requests that no
	// endpoint received are.
	Retries *Retries `json:"retries,omitempty"`
	// Redirect is where clients are sent instead of serving their requests.
	Redirect *Redirect `json:"redirect,omitempty"`
	// Mirrors are backends that get copies of the requests.
	Mirrors []Mirror `json:"mirrors,omitempty"`
	// LoadBalancer is how an endpoint is chosen.
	LoadBalancer *LoadBalancerType `json:"loadBalancer,omitempty"`
	// HealthCheck is how endpoints are found that should get no requests.
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
	// Limits are how much may be open to a backend at once.
	Limits *Limits `json:"limits,omitempty"`
	// BackendBufferLimit is how many bytes of a connection to an endpoint are held in each direction.
	BackendBufferLimit *int64 `json:"backendBufferLimit,omitempty"`
	// ProxyProtocol is the version of the PROXY protocol in which endpoints are told the client's address, V1 or V2.
	ProxyProtocol string `json:"proxyProtocol,omitempty"`
	// RateLimit is how many requests are served in which time.
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
	// Bandwidth is how fast bodies are forwarded.
	Bandwidth *Bandwidth `json:"bandwidth,omitempty"`
	// MaxRequestBody is how many bytes the body of a request may have. Without it there is no limit.
	MaxRequestBody *int64 `json:"maxRequestBody,omitempty"`
	// Compression are the ways to compress responses: Gzip, Brotli, Zstd. The first is preferred.
	Compression []string `json:"compression,omitempty"`
	// Upgrades are the protocols that clients may change to, in lower case; connect is the method CONNECT. Without it, it is
	// websocket.
	Upgrades []string `json:"upgrades,omitempty"`
	// Faults are faults that clients are tested with.
	Faults *Faults `json:"faults,omitempty"`
	// AdmissionControl says when requests are rejected because others fail.
	AdmissionControl *AdmissionControl `json:"admissionControl,omitempty"`
	// ClientCertificate is the Secret with the certificate that Envoy presents to backends with TLS.
	ClientCertificate *ObjectName `json:"clientCertificate,omitempty"`
	// Clients are the limits and the checks for clients and their requests. Listeners have them, and not routes.
	Clients *Clients `json:"-"`
}

// ObjectName identifies a Kubernetes object.
type ObjectName struct {
	// Kind is its kind, such as Service.
	Kind string `json:"kind"`
	// Namespace is its namespace.
	Namespace string `json:"namespace,omitempty"`
	// Name is its name.
	Name string `json:"name"`
}

// String is kind/namespace/name, or kind/name of a cluster-scoped object.
func (n ObjectName) String() string {
	return verdict.Ref{Kind: n.Kind, Namespace: n.Namespace, Name: n.Name}.String()
}

// Authentication is what a client must prove.
type Authentication struct {
	// Kinds are the kinds of the providers, in their order: basicAuth, extAuth. All of them must agree.
	Kinds []string `json:"kinds"`
	// Providers are what decides, one for each entry of kinds.
	Providers []AuthenticationProvider `json:"providers"`
}

// AuthenticationProvider is one thing that decides whether a request is let through.
type AuthenticationProvider struct {
	// Kind is basicAuth or extAuth.
	Kind string `json:"kind"`
	// Secret has the users of basicAuth.
	Secret *ObjectName `json:"secret,omitempty"`
	// Backends are the authorization servers of extAuth.
	Backends []ObjectName `json:"backends,omitempty"`
	// FailOpen is true if requests are let through while the provider cannot be asked.
	FailOpen *bool `json:"failOpen,omitempty"`
}

// Authorization is which clients are allowed.
type Authorization struct {
	// DefaultAction is Allow or Deny: what is done with clients that no rule matches.
	DefaultAction string `json:"defaultAction"`
	// Rules are the rules, the first that matches a client decides.
	Rules []AuthorizationRule `json:"rules,omitempty"`
}

// AuthorizationRule is one rule of an authorization.
type AuthorizationRule struct {
	// Name is the name of the rule.
	Name string `json:"name,omitempty"`
	// Action is Allow or Deny.
	Action string `json:"action"`
	// ClientCIDRs are the addresses of the clients.
	ClientCIDRs []string `json:"clientCIDRs"`
}

// CORS is which web origins may send requests from a browser.
type CORS struct {
	// AllowOrigins are the origins, such as https://*.example.com.
	AllowOrigins []string `json:"allowOrigins,omitempty"`
	// AllowMethods are the methods of their requests.
	AllowMethods []string `json:"allowMethods,omitempty"`
	// AllowHeaders are the headers of their requests.
	AllowHeaders []string `json:"allowHeaders,omitempty"`
	// ExposeHeaders are the headers of responses that they can read.
	ExposeHeaders []string `json:"exposeHeaders,omitempty"`
	// AllowCredentials is true if browsers send cookies and the like.
	AllowCredentials *bool `json:"allowCredentials,omitempty"`
}

// CSRF says which pages may send requests that change something.
type CSRF struct {
	// AdditionalOrigins are the origins of the pages besides those of the host, such as https://*.example.com.
	AdditionalOrigins []string `json:"additionalOrigins,omitempty"`
	// Enforced is false if some of the requests, or all, are only counted.
	Enforced bool `json:"enforced"`
}

// Timeouts are how long requests, and connections to backends, may take. 0s means without limit.
type Timeouts struct {
	// Request is for a request with all of its attempts. Without it, HTTPRoutes have 15s, and GRPCRoutes have no limit.
	Request *metav1.Duration `json:"request,omitempty"`
	// Attempt is for each attempt, if requests are retried.
	Attempt *metav1.Duration `json:"attempt,omitempty"`
	// StreamIdle is how long a request may be without any traffic.
	StreamIdle *metav1.Duration `json:"streamIdle,omitempty"`
	// MaxStreamDuration is for a request too, whatever its timeout is.
	MaxStreamDuration *metav1.Duration `json:"maxStreamDuration,omitempty"`
	// Connect is for a connection to an endpoint to be established.
	Connect *metav1.Duration `json:"connect,omitempty"`
	// ConnectionIdle is how long an unused connection to an endpoint is kept.
	ConnectionIdle *metav1.Duration `json:"connectionIdle,omitempty"`
	// MaxConnectionDuration is how long a connection to an endpoint is used.
	MaxConnectionDuration *metav1.Duration `json:"maxConnectionDuration,omitempty"`
}

// Retries are how often something that failed is tried again.
type Retries struct {
	// Attempts is how often, without the first attempt.
	Attempts int64 `json:"attempts"`
	// StatusCodes are those of answers that are tried again.
	StatusCodes []int64 `json:"statusCodes,omitempty"`
}

// RateLimit is how many requests are served in which time.
type RateLimit struct {
	// Local are the limits for each Envoy and each match of the route. A request must stay within all that count it.
	Local []RateLimitRule `json:"local,omitempty"`
	// Global are the limits for all Envoys together. They too must allow a request.
	Global []RateLimitRule `json:"global,omitempty"`
}

// RateLimitRule is one limit.
type RateLimitRule struct {
	// Requests is how many are served.
	Requests int64 `json:"requests"`
	// Unit is the time: Second, Minute, Hour, Day, Week, Month or Year.
	Unit string `json:"unit"`
	// ClientCIDRs are ranges in which the address of a client must be to be counted. It must be in all of them.
	ClientCIDRs []string `json:"clientCIDRs,omitempty"`
	// Selective is true if only requests that meet other conditions are counted.
	Selective bool `json:"selective"`
	// Each is what has a limit of its own, such as client address or header x-user.
	Each []string `json:"each,omitempty"`
	// ShadowMode is true if requests are counted and none is denied.
	ShadowMode *bool `json:"shadowMode,omitempty"`
}

// Bandwidth is how fast bodies are forwarded, in KiB each second, for each Envoy and each match of the route.
type Bandwidth struct {
	// Request is for those of requests.
	Request *int64 `json:"request,omitempty"`
	// Response is for those of responses.
	Response *int64 `json:"response,omitempty"`
}

// Faults are faults that clients are tested with.
type Faults struct {
	// Delay is how long requests are held back.
	Delay *metav1.Duration `json:"delay,omitempty"`
	// StatusCode is that of answers in place of the backend.
	StatusCode *int64 `json:"statusCode,omitempty"`
	// GRPCStatus is the same for the status of gRPC.
	GRPCStatus *int64 `json:"grpcStatus,omitempty"`
}

// AdmissionControl says when requests are rejected because others fail.
type AdmissionControl struct {
	// MinSuccessRate is the share of successful requests, in percent, below which some are rejected.
	MinSuccessRate int64 `json:"minSuccessRate"`
}

// Redirect is where clients are sent. What it does not name is taken from the request.
type Redirect struct {
	// Scheme is http or https.
	Scheme string `json:"scheme,omitempty"`
	// Hostname is the host.
	Hostname string `json:"hostname,omitempty"`
	// Port is the port.
	Port *int64 `json:"port,omitempty"`
	// StatusCode is that of the answer, such as 302.
	StatusCode int64 `json:"statusCode"`
}

// Mirror is a backend that gets copies of requests.
type Mirror struct {
	// Backend is the object.
	Backend ObjectName `json:"backend"`
}

// LoadBalancerType is how an endpoint is chosen.
type LoadBalancerType struct {
	// Type is LeastRequest, RoundRobin, Random, ConsistentHash, BackendUtilization or DynamicModule.
	Type string `json:"type"`
}

// HealthCheck is how endpoints are found that should get no requests.
type HealthCheck struct {
	// Active is the protocol in which endpoints are asked, HTTP, TCP or GRPC, if they are.
	Active string `json:"active,omitempty"`
	// Passive is true if answers to requests count.
	Passive bool `json:"passive"`
	// PanicThreshold is the share of healthy endpoints, in per cent, below which all endpoints get requests.
	PanicThreshold *int64 `json:"panicThreshold,omitempty"`
}

// Limits are how much may be open to a backend at once.
type Limits struct {
	// MaxConnections is for connections.
	MaxConnections *int64 `json:"maxConnections,omitempty"`
	// MaxPendingRequests is for requests that wait for a connection.
	MaxPendingRequests *int64 `json:"maxPendingRequests,omitempty"`
	// MaxParallelRequests is for requests.
	MaxParallelRequests *int64 `json:"maxParallelRequests,omitempty"`
	// MaxParallelRetries is for retries.
	MaxParallelRetries *int64 `json:"maxParallelRetries,omitempty"`
	// RetryBudget is the share of requests that may be retries, such as 20/100. It wins over maxParallelRetries.
	RetryBudget string `json:"retryBudget,omitempty"`
	// MaxRequestsPerConnection is after how many requests a connection is closed.
	MaxRequestsPerConnection *int64 `json:"maxRequestsPerConnection,omitempty"`
}

// Authenticate adds a provider.
func (e *Effective) Authenticate(p AuthenticationProvider) {
	if e.Authentication == nil {
		e.Authentication = &Authentication{}
	}
	e.Authentication.Kinds = append(e.Authentication.Kinds, p.Kind)
	e.Authentication.Providers = append(e.Authentication.Providers, p)
}

// OfConnections leaves only what holds for connections that are forwarded without looking into them.
func (e *Effective) OfConnections() {
	kept := Effective{
		Namespace: e.Namespace, Authorization: e.Authorization, LoadBalancer: e.LoadBalancer, Retries: e.Retries,
		ClientCertificate: e.ClientCertificate, Clients: e.Clients.ofConnections(), HealthCheck: e.HealthCheck,
		BackendBufferLimit: e.BackendBufferLimit, ProxyProtocol: e.ProxyProtocol,
	}
	if e.Timeouts != nil && e.Timeouts.Connect != nil {
		kept.Timeouts = &Timeouts{Connect: e.Timeouts.Connect}
	}
	if e.Limits != nil && e.Limits.MaxConnections != nil {
		kept.Limits = &Limits{MaxConnections: e.Limits.MaxConnections}
	}
	if kept.Retries != nil {
		kept.Retries = &Retries{Attempts: e.Retries.Attempts}
	}
	*e = kept
}

// Secret names the Secret that a reference in the spec names.
func (e *Effective) Secret(ref *gwapiv1.SecretObjectReference) *ObjectName {
	return new(e.named(ptr.Deref(ref.Kind, "Secret"), ref.Namespace, ref.Name))
}

// Backend names the object that a reference in the spec names.
func (e *Effective) Backend(ref *gwapiv1.BackendObjectReference) ObjectName {
	return e.named(ptr.Deref(ref.Kind, "Service"), ref.Namespace, ref.Name)
}

func (e *Effective) named(kind gwapiv1.Kind, namespace *gwapiv1.Namespace, name gwapiv1.ObjectName) ObjectName {
	named := ObjectName{Kind: string(kind), Namespace: e.Namespace, Name: string(name)}
	if namespace != nil && *namespace != "" {
		named.Namespace = string(*namespace)
	}
	return named
}

// Backends names the objects that references in the spec name, except for those that get no requests.
func (e *Effective) Backends(refs []v1alpha1.BackendRef) (names []ObjectName) {
	for i := range refs {
		if ptr.Deref(refs[i].Weight, 1) > 0 {
			names = append(names, e.Backend(&refs[i].BackendObjectReference))
		}
	}
	return names
}

// EffectiveDuration is a duration in the form of Effective; nil for nil.
func EffectiveDuration(d *durationpb.Duration) *metav1.Duration {
	if d == nil {
		return nil
	}
	return &metav1.Duration{Duration: d.AsDuration()}
}
