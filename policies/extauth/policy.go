package extauth

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/retry"
	"gatehouse/policies/verdict"
)

// policyFilter becomes the asker of a policy. It is another filter than that of rules: if both ask a server, both
// decide.
const policyFilter = "envoy.filters.http.composite/ext_authz/policy"

// OfPolicy is the extAuth part of a SecurityPolicy. A route configuration may have the configuration while no route in it
// asks the server, and then the server's cluster does not exist. Envoy looks for the cluster when it asks.
var OfPolicy = feature.Feature[v1alpha1.SecurityPolicySpec]{
	Name:       "extAuth",
	Check:      checkPolicy,
	Needs:      needsOfPolicy,
	Route:      routeOfPolicy,
	Connection: connection,
	Effective:  effectiveOfPolicy,
	Filters:    []feature.Filter{{Name: policyFilter, Config: feature.Composite(), Off: feature.Nothing()}},
}

// service returns the server with the path of its protocol, nil without one.
func service(spec *v1alpha1.ExtAuth) (*v1alpha1.BackendCluster, string) {
	switch {
	case spec == nil:
		return nil, ""
	case spec.GRPC != nil:
		return &spec.GRPC.BackendCluster, "extAuth.grpc"
	case spec.HTTP != nil:
		return &spec.HTTP.BackendCluster, "extAuth.http"
	}
	return nil, ""
}

func checkPolicy(spec *v1alpha1.SecurityPolicySpec) []verdict.Problem {
	auth := spec.ExtAuth
	if auth == nil {
		return nil
	}
	server, at := service(auth)
	if server == nil || auth.GRPC != nil && auth.HTTP != nil {
		return []verdict.Problem{feature.Invalid("extAuth",
			"an authorization server speaks one of two protocols: set grpc or http")}
	}
	problems := slices.Concat(
		feature.CheckBackends(at, server),
		feature.CheckHeaderNames("extAuth.headersToExtAuth", auth.HeadersToExtAuth),
		feature.CheckPositive("extAuth.timeout", auth.Timeout, limit.String()),
	)
	if body := auth.BodyToExtAuth; body != nil && body.MaxRequestBytes > maxBody {
		problems = append(problems, tooLong("extAuth.bodyToExtAuth.maxRequestBytes", int64(body.MaxRequestBytes)))
	}
	if auth.HTTP != nil {
		problems = append(problems, checkHTTP("extAuth.http.path", ptr.Deref(auth.HTTP.Path, ""),
			"extAuth.http.headersToBackend", auth.HTTP.HeadersToBackend)...)
		problems = append(problems, checkOverride(auth.HTTP)...)
	}
	return problems
}

// checkOverride finds what is wrong with the path that replaces those of requests.
func checkOverride(http *v1alpha1.HTTPExtAuthService) (problems []verdict.Problem) {
	const field = "extAuth.http.pathOverride"
	override, prefix := ptr.Deref(http.PathOverride, ""), ptr.Deref(http.Path, "")
	if override != "" && prefix != "" {
		problems = append(problems, feature.Invalid(field,
			"%q replaces the path of the request, so %q cannot be put before it: remove path or pathOverride", override, prefix))
	}
	if override != "" && (!strings.HasPrefix(override, "/") || !cleanPath(override)) {
		problems = append(problems, feature.Invalid(field,
			`%q is not a path: write one that begins with / and has no empty elements, "." and "..", such as /auth`, override))
	}
	return problems
}

func needsOfPolicy(spec *v1alpha1.SecurityPolicySpec) []feature.Need {
	server, at := service(spec.ExtAuth)
	if server == nil {
		return nil
	}
	need, ok := feature.BackendNeed(at, server)
	if !ok {
		return nil
	}
	need.Backend.HTTP2 = new(spec.ExtAuth.GRPC != nil)
	need.Optional = ptr.Deref(spec.ExtAuth.FailOpen, false)
	return []feature.Need{need}
}

// routeOfPolicy has the server be asked. If it is not there and the policy does without it, clients still cannot set
// what only the server may set.
func routeOfPolicy(spec *v1alpha1.SecurityPolicySpec, have feature.Have, route *feature.Route) {
	for _, need := range needsOfPolicy(spec) {
		if server, ok := have.Clusters[need.Field]; ok {
			feature.PerRoute(route.Route, policyFilter, feature.Whole(ask(spec.ExtAuth, server)...))
		} else if names := strippedBy(spec.ExtAuth); len(names) > 0 {
			feature.PerRoute(route.Route, policyFilter, feature.Whole(strip(names)))
		}
	}
}

// strippedBy lists the headers that a policy removes from requests.
func strippedBy(spec *v1alpha1.ExtAuth) []string {
	if spec.HTTP == nil {
		return nil
	}
	return stripped(spec.HTTP.HeadersToBackend, spec.HeadersToExtAuth)
}

func ask(spec *v1alpha1.ExtAuth, server feature.Cluster) []*corev3.TypedExtensionConfig {
	a := asking{server: server, grpc: spec.GRPC != nil, sent: spec.HeadersToExtAuth, limit: durationpb.New(limit)}
	if given := feature.Duration(spec.Timeout); given.AsDuration() > 0 {
		a.limit = given
	}
	service, _ := service(spec)
	a.retry = retry.OfServer(service.BackendSettings, a.limit.AsDuration())
	if spec.BodyToExtAuth != nil {
		a.body = spec.BodyToExtAuth.MaxRequestBytes
	}
	if spec.HTTP != nil {
		a.path, a.override = ptr.Deref(spec.HTTP.Path, ""), ptr.Deref(spec.HTTP.PathOverride, "")
		a.copied = spec.HTTP.HeadersToBackend
	}
	config := a.config(feature.MessageHeaders())
	config.FailureModeAllow = ptr.Deref(spec.FailOpen, false)
	if spec.StatusOnError != nil {
		config.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode(*spec.StatusOnError)}
	}
	return a.filters(config)
}

func connection(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, connection *feature.Connection) {
	if spec.ExtAuth != nil {
		connection.Unprotected = "extAuth"
	}
}
