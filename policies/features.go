package policies

import (
	"bytes"
	"encoding/binary"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/api/v1alpha1"
	"gatehouse/policies/authorization"
	"gatehouse/policies/basicauth"
	"gatehouse/policies/circuitbreaker"
	"gatehouse/policies/cors"
	"gatehouse/policies/extauth"
	"gatehouse/policies/feature"
	"gatehouse/policies/grpcweb"
	"gatehouse/policies/headers"
	"gatehouse/policies/loadbalancer"
	"gatehouse/policies/mirror"
	"gatehouse/policies/redirect"
	"gatehouse/policies/retry"
	"gatehouse/policies/rewrite"
	"gatehouse/policies/session"
	"gatehouse/policies/tcpkeepalive"
	"gatehouse/policies/timeout"
	"gatehouse/policies/trace"
)

var (
	security = binder("SecurityPolicy", SpecField, func(p *v1alpha1.SecurityPolicy) *v1alpha1.SecurityPolicySpec { return &p.Spec })
	// settings binds features of ClusterSettings, the part of a BackendTrafficPolicy that other kinds have for single
	// backends.
	settings = binder("BackendTrafficPolicy", SpecField, func(p *v1alpha1.BackendTrafficPolicy) *v1alpha1.ClusterSettings {
		return &p.Spec.ClusterSettings
	})
)

// features is every feature of policies and of rules. Its order is the order of the HTTP filters, and that in which the
// features of a kind are applied.
var features = []bound{
	rule(trace.Feature),
	security(cors.Vary),
	security(cors.Feature),
	security(extauth.OfPolicy),
	security(basicauth.Feature),
	security(authorization.Feature),
	rule(rewrite.Feature), // Before headers, so that a change of x-forwarded-host wins over what it adds.
	rule(headers.Feature),
	rule(mirror.Feature),
	rule(cors.OfRule),
	rule(extauth.Feature),
	rule(grpcweb.Feature),
	rule(session.Feature),
	rule(redirect.Feature),
	rule(retry.OfRule),
	rule(timeout.OfRule),
	rule(retry.Repeat),
	settings(timeout.Feature),
	settings(retry.Feature),
	settings(loadbalancer.Feature),
	settings(circuitbreaker.Feature),
	settings(tcpkeepalive.Feature),
}

// Names lists the features of the kind that have fields of their own, in order.
func (k Kind) Names() []string {
	var names []string
	for f := range k.features {
		if f.name != "" {
			names = append(names, f.name)
		}
	}
	return names
}

// Needs lists what the policy refers to, its targets apart. Fields are relative to spec.
func (k Kind) Needs(p Object) []feature.Need {
	var needs []feature.Need
	for f := range k.features {
		needs = append(needs, f.needs(p)...)
	}
	return needs
}

// Cluster sets what the policy says about clusters, defaults included. A nil policy sets the defaults.
func (k Kind) Cluster(p Object, have feature.Have, upstream *feature.Upstream) {
	for f := range k.features {
		f.cluster(p, have, upstream)
	}
}

// ShapesCluster reports whether a cluster with the policy differs from one without. A policy that repeats the defaults
// makes no difference.
func (k Kind) ShapesCluster(p Object, have feature.Have) bool {
	with, without := feature.NewUpstream(), feature.NewUpstream()
	k.Cluster(p, have, with)
	k.Cluster(nil, feature.Have{}, without)
	return !bytes.Equal(Settings(with), Settings(without))
}

// Route applies the policy to a route. The settings of the HTTPRoute itself win, so they must be applied afterwards.
func (k Kind) Route(p Object, have feature.Have, route *routev3.Route) {
	k.routeOf(p, func(string) Object { return p }, have, route)
}

// routeOf is Route for a policy of which owner wrote a field.
func (k Kind) routeOf(p Object, owner func(field string) Object, have feature.Have, route *routev3.Route) {
	for f := range k.features {
		by := owner(SpecField + "." + f.name)
		built := &feature.Route{Route: route, Owner: by.GetNamespace() + "/" + by.GetName()}
		f.route(p, have, built)
	}
}

// Connection applies the policy to connections that are forwarded without reading their content.
func (k Kind) Connection(p Object, have feature.Have, connection *feature.Connection) {
	for f := range k.features {
		f.connection(p, have, connection)
	}
}

// Filters returns the HTTP filters of all features, in order. Every connection manager has all of them, and then the
// router. All but that of package trace are disabled.
func Filters() []*hcmv3.HttpFilter {
	var filters []*hcmv3.HttpFilter
	for _, f := range features {
		if f.filter != nil {
			filters = append(filters, f.filter())
		}
	}
	return filters
}

// off are the configurations with which filters do nothing on a route, by the name of the filter.
var off = func() map[string]*anypb.Any {
	configs := map[string]*anypb.Any{}
	for _, f := range features {
		if f.off != nil {
			configs[f.filter().Name] = feature.Any(f.off)
		}
	}
	return configs
}()

// Off returns the configuration with which a filter does nothing on a route, or nil if the filter has none
// (feature.Feature, Off). Callers must not change it.
func Off(filter string) *anypb.Any { return off[filter] }

// Settings encodes the settings of an upstream: equal settings have equal bytes, in every replica and after every
// restart.
func Settings(upstream *feature.Upstream) []byte {
	cluster, http := encode(upstream.Cluster), encode(upstream.HTTP)
	// The length prevents bytes of one message from counting as bytes of the other.
	return slices.Concat(binary.AppendUvarint(nil, uint64(len(cluster))), cluster, http)
}

func encode(message proto.Message) []byte {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		panic("encoding the settings of a cluster: " + err.Error())
	}
	return encoded
}
