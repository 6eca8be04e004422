package extauth

import (
	"slices"

	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/utils/ptr"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/feature"
	"gatehouse/policies/verdict"
)

// policyFilter becomes the Asker of a policy. It is another filter than that of rules: if both ask a server, both
// decide.
const policyFilter = "envoy.filters.http.composite/ext_authz/policy"

// OfPolicy is the extAuth part of a SecurityPolicy. Its filter is configured on each route (it has no Off), because the
// cluster of its server must exist wherever the configuration is.
var OfPolicy = feature.Feature[v1alpha1.SecurityPolicySpec]{
	Name:       "extAuth",
	Check:      checkPolicy,
	Needs:      needsOfPolicy,
	Route:      routeOfPolicy,
	Connection: connection,
	Filter:     func() *hcmv3.HttpFilter { return feature.Composite(policyFilter) },
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
		return []verdict.Problem{feature.Invalid("extAuth", "an authorization server speaks one of two protocols: set grpc or http")}
	}
	problems := slices.Concat(
		feature.CheckBackends(at, server),
		feature.CheckHeaderNames("extAuth.headersToExtAuth", auth.HeadersToExtAuth),
		feature.CheckPositive("extAuth.timeout", auth.Timeout, limit.String()),
	)
	if server.BackendSettings != nil && server.BackendSettings.Retry != nil {
		problems = append(problems, feature.Invalid(at+".backendSettings.retry",
			"retry is not served for authorization servers yet: remove it"))
	}
	if body := auth.BodyToExtAuth; body != nil && body.MaxRequestBytes > maxBody {
		problems = append(problems, tooLong("extAuth.bodyToExtAuth.maxRequestBytes", int64(body.MaxRequestBytes)))
	}
	if auth.HTTP != nil {
		problems = append(problems, checkHTTP("extAuth.http.path", ptr.Deref(auth.HTTP.Path, ""),
			"extAuth.http.headersToBackend", auth.HTTP.HeadersToBackend)...)
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

func routeOfPolicy(spec *v1alpha1.SecurityPolicySpec, have feature.Have, route *feature.Route) {
	for _, need := range needsOfPolicy(spec) {
		if server, ok := have.Clusters[need.Field]; ok {
			feature.PerRoute(route.Route, policyFilter, feature.Whole(Asker, asker(spec.ExtAuth, server)))
		}
	}
}

func asker(spec *v1alpha1.ExtAuth, server feature.Cluster) *extauthzv3.ExtAuthz {
	a := asking{server: server, grpc: spec.GRPC != nil, sent: spec.HeadersToExtAuth, limit: durationpb.New(limit)}
	if given := feature.Duration(spec.Timeout); given.AsDuration() > 0 {
		a.limit = given
	}
	if spec.BodyToExtAuth != nil {
		a.body = spec.BodyToExtAuth.MaxRequestBytes
	}
	if spec.HTTP != nil {
		a.path, a.copied = ptr.Deref(spec.HTTP.Path, ""), named(spec.HTTP.HeadersToBackend)
	}
	config := a.filter(feature.MessageHeaders())
	config.FailureModeAllow = ptr.Deref(spec.FailOpen, false)
	if spec.StatusOnError != nil {
		config.StatusOnError = &typev3.HttpStatus{Code: typev3.StatusCode(*spec.StatusOnError)}
	}
	return config
}

func connection(spec *v1alpha1.SecurityPolicySpec, _ feature.Have, connection *feature.Connection) {
	if spec.ExtAuth != nil {
		connection.Unprotected = "extAuth"
	}
}
